"""Gated attention over the views.

Ilse, Tomczak and Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018, equation 9: view k
of an event has the weight ``softmax_k(w · (tanh(V h_k) * sigmoid(U h_k)))``. It knows no order of views and
takes any number of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unfreeze.models.views.mean import sum_of_views

_LARGEST_WIDTH = 128  # of the hidden layer, as in the paper's experiments


class AttentionPooling(nn.Module):
    """(B, V, D) -> (B, D): a weighted mean of the views, with weights that are learned.

    ``w`` begins at zero, so that the first weights are those of the mean: heads that were initialised from
    means, and the first steps of training, meet no random choice of a view.

    Args:
        features: D.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        width = min(features, _LARGEST_WIDTH)
        self.content = nn.Linear(features, width)  # V
        self.gate = nn.Linear(features, width)  # U
        self.score = nn.Linear(width, 1, bias=False)  # w; softmax would not see a bias
        nn.init.zeros_(self.score.weight)

    def weights(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, V) shares of the views, which add up to 1; 0 for a view that is not there."""
        if mask is None:
            mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        there = features[mask]  # (N, D): a matrix product of other rows could differ in its last bits
        scores = self.score(torch.tanh(self.content(there)) * torch.sigmoid(self.gate(there))).float()
        spread = scores.new_full(mask.shape, float("-inf")).index_put((mask,), scores.squeeze(1))
        powers = (spread - spread.amax(dim=1, keepdim=True)).exp()
        return powers / sum_of_views(powers).unsqueeze(1)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        shares = self.weights(features, mask).to(features.dtype)
        return sum_of_views(shares.unsqueeze(2) * features)
