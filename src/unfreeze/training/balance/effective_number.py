"""Class weights by the effective number of clips: clips overlap, so the hundredth adds less than the first.

Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019: a class of n clips counts
as E = (1 - beta^n) / (1 - beta) of them and weighs 1 / E. With beta 0 all classes weigh the same, toward 1
the weights become those of inverse frequency. The paper scales them to the number of classes, we to a mean of
1 over the training clips, so that the size of a step does not depend on the number of classes.
"""

from __future__ import annotations

import numpy as np

from unfreeze.training.balance.counts import Floats, at_least_one


def inverse_effective_number(counts: Floats, beta: float) -> Floats:
    """The weight of each option of a choice (options,), up to a common factor."""
    return (1 - beta) / (1 - np.power(beta, at_least_one(counts)))
