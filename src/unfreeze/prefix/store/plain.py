"""Rows of the CPU as plain bytes, which one thread copies.

Torch shares a copy of this size out to all of its threads. While a step computes on the same cores, they wait
for each other many times longer than the copy takes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def as_bytes(leaf: Tensor) -> np.ndarray:
    """The memory of a contiguous leaf (rows, …) on the CPU: (rows, bytes)."""
    width = math.prod(leaf.shape[1:]) * leaf.itemsize
    return leaf.view(-1).view(torch.uint8).numpy().reshape(len(leaf), width)


def given_bytes(leaf: Tensor) -> np.ndarray:
    """The content of any leaf, to be copied at once."""
    return as_bytes(leaf.detach().cpu().contiguous())


def gather(source: np.ndarray, wanted: np.ndarray, target: Tensor) -> None:
    """``target[i] = source[wanted[i]]`` for whole rows."""
    np.take(source, wanted, axis=0, out=as_bytes(target), mode="clip")  # "raise" would go by another copy
