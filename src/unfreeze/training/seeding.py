"""Same seed, same machine: same numbers.

What is random about a clip (its crop, its place in the order) is a pure function of (seed, epoch, index) in
the data room. What draws from the global generators while training (dropout, stochastic depth) starts anew
from (seed, epoch) at every epoch, so a run resumed at an epoch boundary needs no generator states.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def epoch_seed(seed: int, epoch: int) -> int:
    """A 32-bit seed for ``epoch`` (from 1; 0 is what comes before training), unrelated to its neighbours'."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed torch (all devices), numpy and ``random`` for one epoch."""
    value = epoch_seed(seed, epoch)
    torch.manual_seed(value)
    np.random.seed(value)
    random.seed(value)


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Ask torch for reproducible kernels, and give its settings back at the end.

    An operation that has no reproducible kernel on ``device`` warns and runs. On the CPU there is nothing to
    ask.
    """
    if device.type != "cuda":
        yield
        return
    # cuBLAS reads it at its first use: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings: Any = torch.utils.deterministic
    was_on = torch.are_deterministic_algorithms_enabled()
    was_warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    was_filling, was_benchmark = settings.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = (
        False  # guards code that reads torch.empty; ours does not, and it costs
    )
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=was_warn_only)
        settings.fill_uninitialized_memory = was_filling
        torch.backends.cudnn.benchmark = was_benchmark
