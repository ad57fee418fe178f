"""The mean of the views.

Su et al., "Multi-view Convolutional Neural Networks for 3D Shape Recognition", ICCV 2015, compare it with the
maximum; in video classification it is how clips of one video are averaged.
"""

import functools
import operator

from torch import Tensor


def mean_of_views(features: Tensor, mask: Tensor | None) -> Tensor:
    """(B, V, D) -> (B, D): the mean over the views that are there."""
    count = features.shape[1] if mask is None else mask.sum(dim=1, keepdim=True).to(features.dtype)
    return sum_of_views(features) / count


def sum_of_views(values: Tensor) -> Tensor:
    """(B, V, …) -> (B, …): one view after the other, so that zeros behind the others change no bit.

    ``Tensor.sum`` chooses its order of summation by the shape.
    """
    return functools.reduce(operator.add, values.unbind(dim=1))
