"""The tier in memory, of the CPU or of a GPU: one version of each sample, the newest.

Room is taken at once and given to samples as they come. When it is used up, the samples that have some keep
it: every epoch uses every sample once, in another order, so the least recently used is rather the next to be
wanted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unfreeze.prefix.store.plain import as_bytes, gather, given_bytes
from unfreeze.prefix.store.spec import Spec

_NONE = 0  # versions are epochs, from 1


class Front:
    """Rows of samples in preallocated tensors on ``device``.

    Args:
        rows: of each sample.
        limit: in bytes; less is taken where all samples need less.

    Raises:
        RuntimeError: the memory cannot be had.
    """

    def __init__(self, rows: np.ndarray, spec: Spec, device: torch.device, limit: int) -> None:
        self.device, self._rows, self._spec = device, rows, spec
        capacity = min(int(rows.sum()), limit // max(spec.row_bytes, 1))
        self._leaves = spec.empty(capacity, device)
        self._bytes = tuple(as_bytes(leaf) for leaf in self._leaves) if device.type == "cpu" else ()
        self._capacity, self._used = capacity, 0
        self._start = np.zeros(len(rows), np.int64)  # where a sample's rows begin, once it has a version
        self._version = np.full(len(rows), _NONE, np.int64)
        self.full = False  # a sample found no room

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that are here."""
        return self._used * self._spec.row_bytes

    def has(self, index: int, version: int) -> bool:
        return bool(self._version[index] == version)

    def here(self, indices: np.ndarray, versions: np.ndarray) -> np.ndarray:
        """Which of the keys are here, as booleans."""
        return self._version[indices] == versions

    def put(self, index: int, version: int, leaves: Sequence[Tensor]) -> bool:
        """Keep a sample's rows, unless a newer version of it is here or there is no room; whether it did."""
        if self._version[index] > version:
            return False
        rows = int(self._rows[index])
        if self._version[index] == _NONE:
            if self._used + rows > self._capacity:
                self.full = True
                return False
            self._start[index] = self._used
            self._used += rows
        begin = int(self._start[index])
        if self.device.type == "cpu":
            for plain, given in zip(self._bytes, leaves, strict=True):
                plain[begin : begin + rows] = given_bytes(given)
        else:
            for mine, given in zip(self._leaves, leaves, strict=True):
                # blocking where it comes from the CPU: the caller may write to it at once
                mine[begin : begin + rows].copy_(given)
        self._version[index] = version
        return True

    def take(self, indices: np.ndarray) -> tuple[Tensor, ...]:
        """The rows of samples that are here, one sample after the other: one gather for each leaf."""
        wanted = _runs(self._start[indices], self._rows[indices])
        if self.device.type != "cpu":
            there = sent(torch.from_numpy(wanted), self.device)
            return tuple(leaf.index_select(0, there) for leaf in self._leaves)
        batch = self._spec.empty(len(wanted))
        for source, target in zip(self._bytes, batch, strict=True):
            gather(source, wanted, target)
        return batch


def _runs(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``starts[0], starts[0] + 1, … (counts[0] of them), starts[1], …``"""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - counts), counts)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor``, which nobody writes to any more, on ``device``; a GPU is not waited for."""
    if device.type != "cuda":
        return tensor.to(device)
    # torch keeps pinned memory until the copy is done, also when the tensor is gone
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)
