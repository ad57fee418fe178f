"""Gated attention over the views.

Ilse, Tomczak and Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018, equation 9: the weight
of view k among the views of an event is ``softmax_k(w · (tanh(V h_k) * sigmoid(U h_k)))``. It knows no order
of views and takes any number of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
        scores = self.score(torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features)))
        scores = scores.squeeze(2).float()
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(dim=1)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        shares = self.weights(features, mask).to(features.dtype)
        return (shares.unsqueeze(2) * features).sum(dim=1)
