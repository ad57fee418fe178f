"""The maximum over the views, feature by feature.

Su et al., "Multi-view Convolutional Neural Networks for 3D Shape Recognition", ICCV 2015 (view pooling); also
the pooling of the baseline of SoccerNet-MVFoul, Held et al., "VARS: Video Assistant Referee System for
Automated Soccer Decision Making from Multiple Views", CVPR Workshops 2023.
"""

from torch import Tensor


def max_of_views(features: Tensor, mask: Tensor | None) -> Tensor:
    """(B, V, D) -> (B, D): the maximum over the views that are there."""
    if mask is not None:
        features = features.masked_fill(~mask.unsqueeze(2), float("-inf"))
    return features.amax(dim=1)
