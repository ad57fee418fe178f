from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode, v2

from unfreeze.data.transforms import PRESETS, EvaluationTransform, TrainingTransform
from unfreeze.preprocessing import Preprocessing

PLAIN = Preprocessing(
    frames=4,
    resize=(12, 16),
    crop=(8, 8),
    mean=(0.5, 0.25, 0.0),
    std=(0.5, 0.25, 1.0),
    interpolation="nearest",
)
SMOOTH = Preprocessing(frames=4, resize=28, crop=(24, 20), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))

seeds = st.integers(0, 2**32)


def noise(height: int = 12, width: int = 16, frames: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 3, height, width), dtype=torch.uint8, generator=generator)


def reference(p: Preprocessing, augment: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """``none`` and ``light`` as they were before there were presets; recorded runs rest on them."""
    interpolation = InterpolationMode(p.interpolation)
    if augment == "none":
        size = [p.resize] if isinstance(p.resize, int) else list(p.resize)
        steps = [
            v2.Resize(size, interpolation=interpolation, antialias=True),
            v2.CenterCrop(list(p.crop)),
        ]
    else:
        crop = v2.RandomResizedCrop(
            p.crop, scale=(0.7, 1.0), ratio=(4 / 5, 5 / 4), interpolation=interpolation, antialias=True
        )
        steps = [crop, v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)]
    normalise = v2.Normalize(list(p.mean), list(p.std), inplace=True)
    return v2.Compose(
        [*steps, v2.ToDtype(torch.float32, scale=True), normalise, lambda clip: clip.transpose(0, 1)]
    )


@pytest.mark.parametrize("preprocessing", [PLAIN, SMOOTH])
@pytest.mark.parametrize("augment", ["none", "light"])
def test_none_and_light_are_what_they_were_bit_for_bit(augment, preprocessing):
    clip = noise(30, 40)
    transform, before = TrainingTransform(preprocessing, augment), reference(preprocessing, augment)
    for seed in range(8):
        torch.manual_seed(seed)
        expected, expected_state = before(clip), torch.get_rng_state()
        torch.manual_seed(seed)
        out = transform(clip, flip=False)
        assert torch.equal(out, expected)
        assert out.stride() == expected.stride()
        assert torch.equal(torch.get_rng_state(), expected_state)


def test_no_augmentation_is_the_evaluation():
    clip = noise(20, 30)
    assert torch.equal(
        TrainingTransform(PLAIN, "none")(clip, flip=False), EvaluationTransform(PLAIN)(clip)[0]
    )


@pytest.mark.parametrize("augment", PRESETS)
def test_one_draw_holds_for_all_frames(augment):
    still = noise(40, 50, frames=1).expand(5, -1, -1, -1)
    transform = TrainingTransform(SMOOTH, augment)
    for seed in range(30):
        torch.manual_seed(seed)
        clip = transform(still, flip=bool(seed % 2))
        assert clip.shape == (3, 5, 24, 20)
        assert clip.dtype == torch.float32
        assert all(torch.equal(clip[:, 0], clip[:, t]) for t in range(1, 5))


@pytest.mark.parametrize("augment", ["light", "standard", "strong"])
def test_the_next_clip_is_another(augment):
    transform = TrainingTransform(SMOOTH, augment)
    torch.manual_seed(0)
    clips = [transform(noise(40, 50), flip=False) for _ in range(6)]
    assert len({clip.sum().item() for clip in clips}) == 6


@pytest.mark.parametrize("augment", PRESETS)
def test_the_same_seed_gives_the_same_bits_and_the_frames_stay_as_they_are(augment):
    clip = noise(40, 50)
    kept = clip.clone()
    seen = []
    for _ in range(2):
        torch.manual_seed(7)
        seen.append(TrainingTransform(SMOOTH, augment)(clip, flip=True))
    assert torch.equal(*seen)
    assert torch.equal(clip, kept)


@pytest.mark.parametrize("augment", ["none", "light", "standard"])
@given(seed=seeds)
def test_a_flipped_clip_is_the_mirror_image_of_what_it_would_have_been(augment, seed):
    clip, transform = noise(30, 40), TrainingTransform(SMOOTH, augment)
    torch.manual_seed(seed)
    straight = transform(clip, flip=False)
    torch.manual_seed(seed)
    assert torch.equal(transform(clip, flip=True).flip(-1), straight)


def test_a_flip_of_a_flipped_clip_is_the_clip():
    whole = Preprocessing(frames=4, resize=(12, 16), crop=(12, 16), mean=(0, 0, 0), std=(1, 1, 1))
    clip, transform = noise(12, 16), TrainingTransform(whole, "none")
    once = (transform(clip, flip=True) * 255).round().to(torch.uint8).transpose(0, 1)
    assert not torch.equal(once, clip)
    assert torch.equal((transform(once, flip=True) * 255).round().to(torch.uint8).transpose(0, 1), clip)


def test_strong_erases_a_quarter_of_the_clips_and_nothing_else_does():
    grey = torch.full((3, 3, 40, 50), 128, dtype=torch.uint8)
    torch.manual_seed(0)

    def noisy(augment: str) -> int:
        transform = TrainingTransform(SMOOTH, augment)
        # whatever happens to the one grey, at most the fill of empty corners comes beside it
        return sum(transform(grey, flip=False)[0, 0].unique().numel() > 40 for _ in range(200))

    assert noisy("light") == 0
    assert noisy("standard") == 0
    assert 25 < noisy("strong") < 80


def test_an_unknown_preset_is_refused():
    message = r"augment must be none, light, standard or strong, not 'strng'; did you mean 'strong'\?"
    with pytest.raises(ValueError, match=message):
        TrainingTransform(PLAIN, "strng")
