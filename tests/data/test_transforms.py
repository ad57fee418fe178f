from __future__ import annotations

import pytest
import torch

from unfreeze.data.transforms import evaluation_transform, training_transform
from unfreeze.preprocessing import Preprocessing

PLAIN = Preprocessing(
    frames=4,
    resize=(12, 16),
    crop=(8, 8),
    mean=(0.5, 0.25, 0.0),
    std=(0.5, 0.25, 1.0),
    interpolation="nearest",
)


def noise(height: int = 12, width: int = 16, frames: int = 4) -> torch.Tensor:
    return torch.randint(
        0, 256, (frames, 3, height, width), dtype=torch.uint8, generator=torch.manual_seed(0)
    )


def test_evaluation_is_the_normalised_centre():
    clip = noise()
    expected = clip[:, :, 2:10, 4:12].double() / 255
    mean, std = torch.tensor(PLAIN.mean).double(), torch.tensor(PLAIN.std).double()
    expected = ((expected - mean[:, None, None]) / std[:, None, None]).transpose(0, 1)
    out = evaluation_transform(PLAIN)(clip)
    assert out.dtype == torch.float32
    assert out.shape == (3, 4, 8, 8)
    torch.testing.assert_close(out.double(), expected, atol=1e-6, rtol=0)


def test_one_side_to_resize_to_keeps_the_ratio():
    shape = Preprocessing(frames=2, resize=12, crop=(12, 12), mean=(0, 0, 0), std=(1, 1, 1))
    striped = torch.arange(48, dtype=torch.uint8).expand(2, 3, 24, 48)
    out = evaluation_transform(shape)(striped)[0, 0, 0] * 255
    # columns 12 to 36 of 48, halved: neither squeezed nor shifted
    assert out == pytest.approx(torch.arange(12.5, 36.5, 2).tolist(), abs=0.6)


def test_no_augmentation_is_the_evaluation():
    clip = noise(20, 30)
    assert torch.equal(
        training_transform(PLAIN, augment="none", flip=False)(clip), evaluation_transform(PLAIN)(clip)
    )


def test_one_draw_holds_for_all_frames_and_the_next_is_another():
    still = noise(20, 30, frames=1).expand(5, -1, -1, -1)
    transform = training_transform(PLAIN, augment="light", flip=True)
    clips = [transform(still) for _ in range(6)]
    for clip in clips:
        assert clip.shape == (3, 5, 8, 8)
        assert all(torch.equal(clip[:, 0], clip[:, t]) for t in range(5))
    assert len({clip.sum().item() for clip in clips}) == 6


def test_flip_mirrors_about_half_of_the_clips_and_only_if_asked_for():
    ramp = torch.arange(16, dtype=torch.uint8).expand(4, 3, 12, 16) * 10
    torch.manual_seed(0)

    def mirrored(flip: bool, augment: str) -> int:
        transform = training_transform(PLAIN, augment=augment, flip=flip)
        return sum(
            bool(clip[0, 0, 0, 0] > clip[0, 0, 0, -1]) for clip in (transform(ramp) for _ in range(60))
        )

    assert mirrored(False, "light") == 0
    assert 15 < mirrored(True, "light") < 45
    assert 15 < mirrored(True, "none") < 45


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="augment must be none or light, not 'strong'"):
        training_transform(PLAIN, augment="strong", flip=False)
