"""The weights of a head's classes: what its remedies multiply to, scaled and capped."""

from __future__ import annotations

import numpy as np

from unfreeze.training.balance.counts import Floats
from unfreeze.training.balance.effective_number import inverse_effective_number
from unfreeze.training.balance.flags import Balance
from unfreeze.training.balance.weights import inverse_frequency


def loss_weights(balance: Balance, task: str, counts: Floats) -> Floats | None:
    """What the loss of a clip is multiplied by, per choice and option; None where no remedy weighs it.

    Args:
        counts: (choices, options), as ``training_counts`` gives them.
    """
    methods = balance.methods[task]
    raw = np.ones_like(counts)
    if "weights" in methods:
        raw *= inverse_frequency(counts, balance.strength)
    if "effective_number" in methods:
        raw *= inverse_effective_number(counts, balance.beta)
    if not {"weights", "effective_number"} & set(methods):
        return None
    return np.stack([mean_one(of_choice, n, balance.cap) for of_choice, n in zip(raw, counts, strict=True)])


def mean_one(raw: Floats, counts: Floats, cap: float) -> Floats:
    """``raw`` (options,) times the factor that makes the average clip weigh 1, and none more than ``cap``.

    Where the cap takes from some classes, the factor of the others grows, so that both hold exactly.

    Args:
        raw: positive weights up to a common factor.
        counts: clips of each option.
        cap: at least 1.
    """
    if not counts.any():
        return np.ones_like(raw)
    share = counts / counts.sum()
    capped = np.zeros(len(raw), dtype=bool)
    while True:
        free = float(share[~capped] @ raw[~capped])
        room = 1 - cap * float(share[capped].sum())
        # With a cap of 1 nothing stays free but rounding errors, and classes without a clip.
        weights = raw * (room / free) if free > 0 and room > 0 else np.full_like(raw, cap)
        weights[capped] = cap
        over = ~capped & (weights > cap)
        if not over.any():
            return weights
        capped |= over
