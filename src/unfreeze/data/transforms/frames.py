"""What training and evaluation do alike: sizes, and from uint8 frames to a normalised clip."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torchvision.transforms import InterpolationMode, v2

from unfreeze.data.transforms.presets import PRESETS
from unfreeze.preprocessing import Interpolation, Preprocessing


def training_side(preprocessing: Preprocessing) -> int:
    """Pixels of the shorter side to which training frames are shrunk before they are augmented (and cached).

    Frames of this side are large enough that neither the smallest crop of the ``light`` preset nor the frames
    of the centre crop are ever enlarged again; a larger one would only cost time and memory.
    """
    light = PRESETS["light"]
    assert light.scale is not None, "light crops"
    resize = preprocessing.resize
    centre = resize if isinstance(resize, int) else min(resize)
    # of a square of side 1, the smallest crop has the area `scale` and a shorter side of sqrt(scale * ratio)
    smallest = math.sqrt(light.scale[0] * light.ratio[0])
    return max(math.ceil(max(preprocessing.crop) / smallest), centre)


def shrink(clip: torch.Tensor, side: int, interpolation: Interpolation = "bilinear") -> torch.Tensor:
    """Frames (T, C, H, W) uint8 whose shorter side is at most ``side`` pixels; smaller ones are left alone.

    Every frame is resized on its own, however it lies in memory: a video shrunk in pieces is the video shrunk
    as a whole, bit for bit.
    """
    if min(clip.shape[-2:]) <= side:
        return clip
    mode = InterpolationMode(interpolation)
    return v2.functional.resize(clip, [side], interpolation=mode, antialias=True)


def resize(preprocessing: Preprocessing) -> Callable[[torch.Tensor], torch.Tensor]:
    """Frames as evaluation has them before it crops: (T, C, H, W) uint8 -> the same."""
    size = preprocessing.resize
    return v2.Resize(
        [size] if isinstance(size, int) else list(size),
        interpolation=InterpolationMode(preprocessing.interpolation),
        antialias=True,
    )


def normalise(preprocessing: Preprocessing) -> Callable[[torch.Tensor], torch.Tensor]:
    """(T, C, H, W) uint8 -> the same, float32, less the mean, by the standard deviation of each channel."""
    return v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(preprocessing.mean), list(preprocessing.std), inplace=True),
        ]
    )


def channels_first(clip: torch.Tensor) -> torch.Tensor:
    """(T, C, H, W) -> (C, T, H, W)"""
    return clip.transpose(-4, -3)
