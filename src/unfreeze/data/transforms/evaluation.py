"""What a model sees in evaluation: nothing random."""

from __future__ import annotations

import torch
from torchvision.transforms import v2

from unfreeze.data.transforms.frames import channels_first, normalise, resize
from unfreeze.preprocessing import Preprocessing


class EvaluationTransform:
    """Resize, crop, normalise: (T, C, H, W) uint8 -> (crops, C, T, H, W) float32.

    ``resize`` is the first part of it, (T, C, H, W) uint8 -> the same, whose result is worth keeping: what it
    gave passes through it unchanged.

    Args:
        preprocessing: what the model expects.
        crops: 1 is the centre; 3 are the beginning, the centre and the end along the side that has more to
            spare, the longer one as a rule (three-crop testing: Wang et al., "Non-local Neural Networks",
            2018), and the centre of the other side.

    Raises:
        ValueError: another number of crops.
    """

    def __init__(self, preprocessing: Preprocessing, crops: int = 1) -> None:
        if crops not in (1, 3):
            raise ValueError(f"eval_crops must be 1 or 3, not {crops!r}")
        self.crops = crops
        self._size = preprocessing.crop
        self.resize = resize(preprocessing)
        self._centre = v2.CenterCrop(list(preprocessing.crop))
        self._normalise = normalise(preprocessing)

    def __call__(self, clip: torch.Tensor) -> torch.Tensor:
        clip = self.resize(clip)
        crops = [self._centre(clip)]
        if self.crops == 3:
            begin, end = self._ends(clip)
            crops = [begin, *crops, end]
        return torch.stack([channels_first(self._normalise(crop)) for crop in crops])

    def _ends(self, clip: torch.Tensor) -> list[torch.Tensor]:
        height, width = self._size
        down, right = clip.shape[-2] - height, clip.shape[-1] - width
        if right >= down:
            corners = [(round(down / 2), left) for left in (0, right)]  # CenterCrop's way of rounding
        else:
            corners = [(top, round(right / 2)) for top in (0, down)]
        return [clip[..., top : top + height, left : left + width] for top, left in corners]
