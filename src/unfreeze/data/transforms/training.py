"""What a model sees in training: a clip as one of the presets varies it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torchvision.transforms import InterpolationMode, v2

from unfreeze.data.transforms.frames import channels_first, normalise, resize
from unfreeze.data.transforms.presets import Preset, preset
from unfreeze.preprocessing import Preprocessing

Step = Callable[[torch.Tensor], torch.Tensor]


class TrainingTransform:
    """Augment, then normalise: (T, C, H, W) uint8 -> (C, T, H, W) float32.

    The randomness is that of torch's global CPU generator, and each draw holds for all frames. Frames stay
    uint8 up to the end, where it is cheap; only erasing, whose noise is of the model's own scale, comes after
    normalising. ``flip`` is the caller's to draw, as the labels and other views of the event depend on it; a
    flipped clip is the mirror image of what it would have been (but for the place of an erased rectangle,
    which is as random as before).

    Args:
        preprocessing: what the model expects.
        augment: the name of a preset, see ``PRESETS``.

    Raises:
        ValueError: there is no such preset.
    """

    def __init__(self, preprocessing: Preprocessing, augment: str) -> None:
        chosen = preset(augment)
        self._vary = v2.Compose(_variations(chosen, preprocessing))
        self._normalise = normalise(preprocessing)
        # noise, as in the paper's best variant and in MViT's recipe
        self._erase = v2.RandomErasing(chosen.erasing, value="random") if chosen.erasing else None

    def __call__(self, clip: torch.Tensor, *, flip: bool = False) -> torch.Tensor:
        clip = self._vary(clip)
        if flip:
            clip = v2.functional.horizontal_flip(clip)
        clip = self._normalise(clip)
        if self._erase is not None:
            clip = self._erase(clip)
        return channels_first(clip)


def _variations(chosen: Preset, preprocessing: Preprocessing) -> list[Step]:
    interpolation = InterpolationMode(preprocessing.interpolation)
    if chosen.scale is None:
        steps: list[Step] = [resize(preprocessing), v2.CenterCrop(list(preprocessing.crop))]
    else:
        crop = v2.RandomResizedCrop(
            preprocessing.crop,
            scale=chosen.scale,
            ratio=chosen.ratio,
            interpolation=interpolation,
            antialias=True,
        )
        steps = [crop]
    jitter = {name: getattr(chosen, name) for name in ("brightness", "contrast", "saturation")}
    if any(jitter.values()):
        steps.append(v2.ColorJitter(**jitter))
    if chosen.rand_augment is not None:
        operations, magnitude = chosen.rand_augment
        smooth = interpolation != InterpolationMode.NEAREST
        rand_augment = v2.RandAugment(
            operations,
            magnitude,
            # it knows no bicubic
            interpolation=InterpolationMode.BILINEAR if smooth else InterpolationMode.NEAREST,
            # what a rotation leaves empty is the mean colour, which is 0 to the model (as in timm)
            fill=[min(max(round(255 * mean), 0), 255) for mean in preprocessing.mean],
        )
        steps.append(rand_augment)
    return steps
