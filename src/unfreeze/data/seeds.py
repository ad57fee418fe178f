"""Seeds of what is random about clips."""

from __future__ import annotations

import numpy as np


def derive_seed(*keys: int) -> int:
    """A 64-bit seed for what ``keys`` (not negative) name together; close keys give unrelated seeds."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0])
