"""From decoded frames to what a model takes, with torchvision's v2 transforms.

They see all frames of a clip as one batch of pictures, so one random draw holds for the whole clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torchvision.transforms import InterpolationMode, v2

from unfreeze.preprocessing import Preprocessing

Augment = Literal["none", "light"]
Transform = Callable[[torch.Tensor], torch.Tensor]


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """Resize, centre crop, normalise: (T, C, H, W) uint8 -> (C, T, H, W) float32."""
    return v2.Compose([*_centre(preprocessing), *_to_float(preprocessing)])


def training_transform(preprocessing: Preprocessing, *, augment: Augment, flip: bool) -> Transform:
    """Augment, then normalise: (T, C, H, W) uint8 -> (C, T, H, W) float32.

    The randomness is that of torch's global CPU generator.

    Args:
        augment: ``light`` is a random crop of most of the picture and a little colour jitter (not of the hue,
            which may carry the label); ``none`` is the centre crop of the evaluation.
        flip: mirror half of the clips. Wrong where labels tell left from right or the sense of a rotation.
    """
    steps: list[Callable] = list(_centre(preprocessing))
    if augment == "light":
        crop = v2.RandomResizedCrop(
            preprocessing.crop,
            scale=(0.7, 1.0),
            ratio=(4 / 5, 5 / 4),
            interpolation=InterpolationMode(preprocessing.interpolation),
            antialias=True,
        )
        steps = [crop, v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)]
    elif augment != "none":
        raise ValueError(f"augment must be none or light, not {augment!r}")
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose([*steps, *_to_float(preprocessing)])


def _centre(preprocessing: Preprocessing) -> list[Callable]:
    resize = preprocessing.resize
    size = [resize] if isinstance(resize, int) else list(resize)
    interpolation = InterpolationMode(preprocessing.interpolation)
    return [
        v2.Resize(size, interpolation=interpolation, antialias=True),
        v2.CenterCrop(list(preprocessing.crop)),
    ]


def _to_float(preprocessing: Preprocessing) -> list[Callable]:
    return [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(preprocessing.mean), list(preprocessing.std), inplace=True),
        _channels_first,
    ]


def _channels_first(clip: torch.Tensor) -> torch.Tensor:
    """(T, C, H, W) -> (C, T, H, W)"""
    return clip.transpose(0, 1)
