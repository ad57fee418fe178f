"""How much training clips are varied: the presets behind ``--augment``, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch

from unfreeze.options import nearest

Augment = Literal["none", "light", "standard", "strong"]
Range = tuple[float, float]


@dataclass(frozen=True)
class Preset:
    """One way to vary training clips. All of it is drawn once per clip and holds for all its frames.

    Attributes:
        scale: share of the picture's area that the random crop keeps; None is the centre crop of evaluation.
        ratio: width by height of that crop, before it is resized to the model's.
        brightness, contrast, saturation: colour jitter, as factors from 1 - x to 1 + x. The hue, which may
            carry the label, is left alone.
        rand_augment: number of RandAugment's operations, and their magnitude from 0 to 30; None is off. Some
            of them change hues: it is not for classes that are told apart by colour.
        erasing: probability that a rectangle becomes noise.
        flip: mirror half of the clips, unless ``--flip`` or ``--no_flip`` says otherwise.
        speed: slowest and fastest playback, 1 as filmed.
    """

    scale: Range | None = None
    ratio: Range = (1.0, 1.0)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    rand_augment: tuple[int, int] | None = None
    erasing: float = 0.0
    flip: bool = False
    speed: Range = (1.0, 1.0)


# RandAugment: Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space",
# 2020. Random erasing: Zhong et al., "Random Erasing Data Augmentation", 2020.
#
# `standard`: the crop's ratio and the (2, 9) of torchvision's references for image classification; its
# references for video only crop and flip. A crop from 0.08 of the area on, as there, would often miss what
# happens in a clip.
#
# `strong` follows the recipe of MViT (Fan et al., 2021; Li et al., 2022) on Kinetics: rand-m7-n4-mstd0.5-inc1
# and erasing with 0.25. There a magnitude goes up to 10 and each of four operations is applied half of the
# time; in torchvision's terms that is two operations of magnitude 21 of 30. The crop is larger than the
# recipe's: it is for somebody who has hundreds of clips and a pretrained model.
#
# Where RandAugment is on, colour jitter is off (as in timm): it varies brightness, contrast and saturation
# itself. The speeds are our own, slight enough that walking is not taken for running.
PRESETS: Mapping[Augment, Preset] = MappingProxyType(
    {
        "none": Preset(),
        "light": Preset(scale=(0.7, 1.0), ratio=(4 / 5, 5 / 4), brightness=0.2, contrast=0.2, saturation=0.2),
        "standard": Preset(
            scale=(0.5, 1.0), ratio=(3 / 4, 4 / 3), rand_augment=(2, 9), flip=True, speed=(0.9, 1 / 0.9)
        ),
        "strong": Preset(
            scale=(0.3, 1.0),
            ratio=(3 / 4, 4 / 3),
            rand_augment=(2, 21),
            erasing=0.25,
            flip=True,
            speed=(0.8, 1 / 0.8),
        ),
    }
)


def preset(augment: str) -> Preset:
    """
    Raises:
        ValueError: there is no such preset.
    """
    for name, found in PRESETS.items():
        if name == augment:
            return found
    *others, last = PRESETS
    raise ValueError(
        f"augment must be {', '.join(others)} or {last}, not {augment!r}{nearest(augment, list(PRESETS))}"
    )


def flips(augment: str, flip: bool | None) -> bool:
    """Whether half of the training clips are mirrored: ``flip`` where the user has said so, else the preset's
    habit.
    """
    return preset(augment).flip if flip is None else flip


def draw_speed(augment: str) -> float:
    """A playback speed for one clip, from torch's global CPU generator; 1, without a draw, where the preset
    leaves the speed alone.

    Half as fast is as likely as twice as fast: the logarithm is uniform.
    """
    slow, fast = preset(augment).speed
    if slow == fast:
        return slow
    return slow * math.exp(torch.rand(()).item() * math.log(fast / slow))
