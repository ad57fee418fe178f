"""What a row is made of: the tensors that are kept of it, without any knowledge of models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of every leaf of a row, without the row dimension, as it lies in memory."""

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]

    def __post_init__(self) -> None:
        assert len(self.shapes) == len(self.dtypes)

    @cached_property
    def leaf_bytes(self) -> tuple[int, ...]:
        """Bytes of each leaf of a row."""
        pairs = zip(self.shapes, self.dtypes, strict=True)
        return tuple(math.prod(shape) * dtype.itemsize for shape, dtype in pairs)

    @property
    def row_bytes(self) -> int:
        return sum(self.leaf_bytes)

    def empty(
        self, rows: int, device: torch.device | str = "cpu", *, pin: bool = False
    ) -> tuple[Tensor, ...]:
        """Room for ``rows`` rows: a tensor of (rows, …) for each leaf.

        Raises:
            RuntimeError: there is not that much memory.
        """
        return tuple(
            torch.empty((rows, *shape), dtype=dtype, device=device, pin_memory=pin)
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        )

    def fits(self, leaves: tuple[Tensor, ...], rows: int) -> bool:
        """Whether these are the leaves of ``rows`` rows."""
        return tuple((leaf.shape, leaf.dtype) for leaf in leaves) == tuple(
            (torch.Size((rows, *shape)), dtype) for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        )
