"""Logit adjustment: the training loss adds the class prior to the logits, so that they need not learn it.

Menon et al., "Long-Tail Learning via Logit Adjustment", ICLR 2021, the logit-adjusted softmax cross entropy:
on ``logits + tau * log(prior)``. In evaluation the logits go as they are. For a multi-label head each class
is a choice between two, whose logit is that of the difference: ``logit + tau * log(prior / (1 - prior))``.
"""

from __future__ import annotations

import numpy as np

from unfreeze.training.balance.counts import Floats, at_least_one


def log_prior(counts: Floats) -> Floats:
    """The logarithm of each option's share of the training clips, (choices, options)."""
    counts = at_least_one(counts)
    return np.log(counts / counts.sum(axis=1, keepdims=True))
