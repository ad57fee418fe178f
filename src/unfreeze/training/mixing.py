"""Mixup and cutmix: every clip of a batch is mixed with another one, and answers for both labels.

Mixup: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, blends two clips as a whole.
Cutmix: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
Features", 2019, puts a rectangle of one picture into another; in a clip it is the same rectangle in all
frames, the spatial variant of Yun et al., "VideoMix: Rethinking Data Augmentation for Video
Classification", 2020.

The loss of a mixed clip is share * loss(own label) + (1 - share) * loss(partner's label), in each task for
itself; a masked label of either contributes nothing. Every clip is the partner of one other, so over a batch
each label still counts for 1, and a mean divides by the number of labelled clips as if nothing were mixed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unfreeze.data.seeds import derive_seed

# apart from the seeds of clips, which are made of (seed, epoch, index)
_STREAM = 0x6D6978


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed.

    Attributes:
        partner: (B,) whole numbers, on the CPU: clip i is mixed with clip ``partner[i]``, never with itself.
        share: λ, the share of a clip that is its own; the rest is its partner's.
        box: what is the partner's: (top, bottom, left, right) as fractions of height and width. None blends
            the clips as a whole.
    """

    partner: Tensor
    share: float
    box: tuple[float, float, float, float] | None = None

    def video(self, video: Tensor, view_mask: Tensor | None = None) -> Tensor:
        """The mixed clips.

        The k-th view of an event is mixed with the k-th of its partner, whose views start again where it has
        fewer: so ``share`` holds for every view, and none is mixed with padding.

        Args:
            video: (B, V, C, T, H, W), floating point; stays as it is.
            view_mask: (B, V), False where a view is padding; padding stays as it is. None: there is none.
        """
        partner = self.partner.to(video.device)
        if view_mask is None:
            other = video[partner]
        else:
            view_mask = view_mask.to(video.device)
            other = video[partner[:, None], _views(view_mask, view_mask[partner])]
        weight = self._weight(*video.shape[-2:]).to(video)
        mixed = torch.lerp(video, other, weight)
        if view_mask is None:
            return mixed
        return torch.where(view_mask[:, :, None, None, None, None], mixed, video)

    def rows(self, values: Tensor, view_mask: Tensor) -> Tensor:
        """What the model makes of the clips, mixed as a whole: of the same pairs as in ``video``.

        Args:
            values: (N, …), floating point: one row for every True of the mask, in its order.
            view_mask: (B, V), on the CPU, False where a view is padding.
        """
        assert self.box is None, "a rectangle of a picture is none of an activation"
        numbers = (view_mask.flatten().cumsum(0) - 1).view_as(view_mask)
        others = numbers[self.partner[:, None], _views(view_mask, view_mask[self.partner])]
        return torch.lerp(values, values[others[view_mask].to(values.device)], 1 - self.share)

    def labels(self, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The partners' labels, per task: (B,) or (B, classes) as in the batch."""
        return {task: of_task[self.partner.to(of_task.device)] for task, of_task in labels.items()}

    def _weight(self, height: int, width: int) -> Tensor:
        """The partner's weight in every pixel, () or (H, W); its mean is 1 - share.

        A pixel on the edge of the box is the partner's as far as the box covers it. So the share of labels is
        that of pixels exactly, on pictures of any size.
        """
        if self.box is None:
            return torch.tensor(1 - self.share)
        top, bottom, left, right = self.box
        return _covered(top * height, bottom * height, height)[:, None] * _covered(
            left * width, right * width, width
        )


@dataclass(frozen=True)
class Mixing:
    """Draws how batches are mixed.

    Args:
        mixup: α of the Beta(α, α) distribution from which the share is drawn; 0 is off.
        cutmix: the same for cutmix. Where both are on, each step is one or the other, as likely (as in timm).
        seed: of all randomness; the global generators are not touched.
    """

    mixup: float
    cutmix: float
    seed: int

    def draw(self, epoch: int, step: int, batch_size: int, first: int = 0) -> Mix | None:
        """How to mix one batch: a pure function of the seed and the arguments; None leaves it as it is.

        Args:
            epoch, step: from 1.
            batch_size: B; a batch of one clip is left alone.
            first: what tells apart the batches of one step: the number of the batch's first clip.
        """
        if batch_size < 2 or not (self.mixup or self.cutmix):
            return None
        random = np.random.default_rng(derive_seed(self.seed, epoch, step, first, _STREAM))
        cut = random.random() < 0.5 if self.mixup and self.cutmix else self.cutmix > 0
        alpha = self.cutmix if cut else self.mixup
        # a ring: each clip has one partner and is one, and none is its own
        ring = random.permutation(batch_size)
        partner = torch.empty(batch_size, dtype=torch.long)
        partner[torch.from_numpy(ring)] = torch.from_numpy(np.roll(ring, -1))
        share = float(random.beta(alpha, alpha))
        if not cut:
            return Mix(partner, share)
        top, bottom = _stretch(random.random(), math.sqrt(1 - share))
        left, right = _stretch(random.random(), math.sqrt(1 - share))
        # the box may have lost a part beyond the edge; what is left decides
        return Mix(partner, 1 - (bottom - top) * (right - left), (top, bottom, left, right))


def mixed(own: Mapping[str, Tensor], partner: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """share * own + (1 - share) * partner, per task.

    Args:
        own, partner: the losses of a batch, summed, with its own and with the partners' labels.
    """
    return {task: share * own[task] + (1 - share) * partner[task] for task in own}


def _views(own: Tensor, partner: Tensor) -> Tensor:
    """Which of the partner's views goes into each of the clip's own: (B, V) whole numbers, from (B, V) masks.

    Where ``own`` is False the number means nothing.
    """
    valid_first = partner.int().argsort(dim=1, descending=True, stable=True)
    number = own.long().cumsum(dim=1) - 1
    return valid_first.gather(1, number % partner.sum(dim=1, keepdim=True))


def _stretch(centre: float, length: float) -> tuple[float, float]:
    """Where a stretch of (0, 1) begins and ends, cut off at 0 and 1."""
    return max(centre - length / 2, 0.0), min(centre + length / 2, 1.0)


def _covered(begin: float, end: float, pixels: int) -> Tensor:
    """How much of each of ``pixels`` lies between ``begin`` and ``end`` (in pixels), from 0 to 1."""
    edges = torch.arange(pixels + 1, dtype=torch.float64).clamp(begin, end)
    return edges.diff()
