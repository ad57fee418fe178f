"""Focal loss: clips that the model already gets right count less.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017: the cross entropy of a clip is multiplied by
(1 - p)^gamma, with p the probability of its label; gamma 0 is the plain cross entropy. It looks at single
clips and not at classes, so it changes no class prior by a fixed factor. The paper's alpha is a class weight:
``weights+focal``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def focal_factor(log_probability: Tensor, gamma: float) -> Tensor:
    """(1 - p)^gamma, of the shape of ``log_probability``, the logarithm of the label's probability."""
    # For gamma below 1 the slope at p = 1 is infinite, and infinity times no error is NaN: keep off it.
    wrong = (-torch.expm1(log_probability)).clamp(min=torch.finfo(log_probability.dtype).eps)
    return wrong**gamma
