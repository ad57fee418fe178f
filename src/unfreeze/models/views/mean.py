"""The mean of the views.

Su et al., "Multi-view Convolutional Neural Networks for 3D Shape Recognition", ICCV 2015, compare it with the
maximum; in video classification it is how clips of one video are averaged.
"""

from torch import Tensor


def mean_of_views(features: Tensor, mask: Tensor | None) -> Tensor:
    """(B, V, D) -> (B, D): the mean over the views that are there."""
    if mask is None:
        return features.mean(dim=1)
    # absent features are zero; as addends they change no bit of a sum
    return features.sum(dim=1) / mask.sum(dim=1, keepdim=True).to(features.dtype)
