from __future__ import annotations

import math

import pytest
import torch

from unfreeze.data.transforms import PRESETS, TrainingTransform, shrink, training_side
from unfreeze.models import model_names
from unfreeze.models.registry import backbone
from unfreeze.preprocessing import Preprocessing


def noise(frames: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (frames, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(90, 160, (45, 80)), (160, 90, (80, 45)), (45, 80, (45, 80)), (20, 300, (20, 300)), (91, 91, (45, 45))],
)
def test_the_shorter_side_becomes_the_side_and_smaller_frames_are_left_alone(height, width, expected):
    clip = noise(2, height, width)
    out = shrink(clip, 45)
    assert out.shape == (2, 3, *expected)
    assert out.dtype == torch.uint8
    assert (out is clip) == (expected == (height, width))


def test_shrinking_is_antialiased():
    stripes = (torch.arange(64) % 2 * 255).to(torch.uint8).expand(1, 3, 64, 64)
    assert (shrink(stripes, 16).float() - 127.5).abs().max() < 20
    assert set(shrink(stripes, 16, "nearest").unique().tolist()) <= {0, 255}


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_a_video_shrunk_in_pieces_is_the_video_shrunk_as_a_whole(interpolation):
    clip = noise(7, 61, 83)
    whole = shrink(clip, 30, interpolation)
    pieces = torch.cat([shrink(part, 30, interpolation) for part in clip.split(3)])
    assert torch.equal(pieces, whole)
    # frames come from decoders with the channels last in memory
    as_decoded = clip.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(shrink(as_decoded, 30, interpolation), whole)


@pytest.mark.parametrize("name", model_names())
def test_the_side_is_enough_for_every_crop_of_light_and_for_the_centre(name):
    preprocessing = backbone(name).preprocessing()
    light, side = PRESETS["light"], training_side(preprocessing)
    low, high = light.ratio
    for ratio in (low, 1.0, high):
        height, width = (math.sqrt(light.scale[0] * f) * side for f in (1 / ratio, ratio))
        assert height >= preprocessing.crop[0]
        assert width >= preprocessing.crop[1]
    size = preprocessing.resize
    assert side >= (size if isinstance(size, int) else min(size))


def test_no_more_than_needed():
    shape = Preprocessing(frames=2, resize=128, crop=(112, 100), mean=(0, 0, 0), std=(1, 1, 1))
    assert training_side(shape) == math.ceil(112 / math.sqrt(0.7 * 0.8)) == 150
    large = Preprocessing(frames=2, resize=200, crop=(112, 112), mean=(0, 0, 0), std=(1, 1, 1))
    assert training_side(large) == 200


@pytest.mark.parametrize("augment", PRESETS)
def test_how_frames_lie_in_memory_makes_no_difference_to_training(augment):
    shape = Preprocessing(frames=3, resize=40, crop=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
    clip = noise(3, 50, 60)
    as_decoded = clip.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    transform = TrainingTransform(shape, augment)
    for seed in range(10):
        seen = []
        for frames in (clip, as_decoded):
            torch.manual_seed(seed)
            seen.append(transform(frames, flip=False))
        assert torch.equal(*seen)
