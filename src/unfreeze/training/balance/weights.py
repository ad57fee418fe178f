"""Class weights in inverse proportion to the class counts.

King and Zeng, "Logistic Regression in Rare Events Data", Political Analysis 2001. The gentler strengths put
the square root of a count in its place, as Mahajan et al., "Exploring the Limits of Weakly Supervised
Pretraining", ECCV 2018, do in resampling, or its logarithm.
"""

from __future__ import annotations

import math

import numpy as np

from unfreeze.training.balance.counts import Floats, at_least_one
from unfreeze.training.balance.flags import Strength


def inverse_frequency(counts: Floats, strength: Strength) -> Floats:
    """The weight of each option of a choice (options,), up to a common factor.

    ``log`` is gentler than ``sqrt``, ``sqrt`` gentler than ``full``, whatever the counts: the logarithm is
    shifted so that a class of one clip has the same weight with all three.
    """
    counts = at_least_one(counts)
    if strength == "sqrt":
        counts = np.sqrt(counts)
    elif strength == "log":
        counts = np.log(counts + (math.e - 1))
    return 1 / counts
