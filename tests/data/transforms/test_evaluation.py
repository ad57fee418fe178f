from __future__ import annotations

import pytest
import torch

from unfreeze.data.transforms import EvaluationTransform
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
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (frames, 3, height, width), dtype=torch.uint8, generator=generator)


def normalised(clip: torch.Tensor) -> torch.Tensor:
    """The slow way, in float64: (T, C, H, W) uint8 -> (C, T, H, W)."""
    mean, std = torch.tensor(PLAIN.mean).double(), torch.tensor(PLAIN.std).double()
    return ((clip.double() / 255 - mean[:, None, None]) / std[:, None, None]).transpose(0, 1)


def test_it_is_the_normalised_centre():
    clip = noise()
    out = EvaluationTransform(PLAIN)(clip)
    assert out.dtype == torch.float32
    assert out.shape == (1, 3, 4, 8, 8)
    torch.testing.assert_close(out[0].double(), normalised(clip[:, :, 2:10, 4:12]), atol=1e-6, rtol=0)


def test_one_side_to_resize_to_keeps_the_ratio():
    shape = Preprocessing(frames=2, resize=12, crop=(12, 12), mean=(0, 0, 0), std=(1, 1, 1))
    striped = torch.arange(48, dtype=torch.uint8).expand(2, 3, 24, 48)
    out = EvaluationTransform(shape)(striped)[0, 0, 0, 0] * 255
    # columns 12 to 36 of 48, halved: neither squeezed nor shifted
    assert out == pytest.approx(torch.arange(12.5, 36.5, 2).tolist(), abs=0.6)


@pytest.mark.parametrize(
    ("resize", "crop", "corners"),  # (top, left) of the first and the last crop
    [
        ((12, 16), (8, 8), [(2, 0), (2, 8)]),
        ((16, 12), (8, 8), [(0, 2), (8, 2)]),
        ((13, 17), (8, 8), [(2, 0), (2, 9)]),  # 2.5 is rounded to even, as by CenterCrop
        ((12, 16), (8, 15), [(0, 0), (4, 0)]),  # the longer side, but there is less to spare
        ((12, 12), (8, 8), [(2, 0), (2, 4)]),
        ((8, 8), (8, 8), [(0, 0), (0, 0)]),
    ],
)
def test_three_crops_are_both_ends_and_the_centre(resize, crop, corners):
    clip = noise(*resize)
    shape = Preprocessing(4, resize, crop, PLAIN.mean, PLAIN.std, interpolation="nearest")
    first, centre, last = EvaluationTransform(shape, crops=3)(clip)
    assert torch.equal(centre, EvaluationTransform(shape)(clip)[0])
    for out, (top, left) in zip((first, last), corners, strict=True):
        expected = normalised(clip[:, :, top : top + crop[0], left : left + crop[1]])
        torch.testing.assert_close(out.double(), expected, atol=1e-6, rtol=0)


def test_the_frames_stay_as_they_are():
    clip = noise()
    kept = clip.clone()
    EvaluationTransform(PLAIN, crops=3)(clip)
    assert torch.equal(clip, kept)


def test_another_number_of_crops_is_refused():
    with pytest.raises(ValueError, match="eval_crops must be 1 or 3, not 2"):
        EvaluationTransform(PLAIN, crops=2)
