"""How activations are kept: rows as the model leaves them in memory, in a smaller format on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unfreeze.prefix.activations import Layout

Leaves = tuple[Tensor, ...]


@dataclass(frozen=True)
class Packing:
    """Between the leaves of a layout and what is kept of them.

    Attributes:
        dtype: in which floating leaves of more bytes are kept; None keeps what is produced.
    """

    layout: Layout
    dtype: torch.dtype | None = None

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of one row, leaf by leaf, as it is kept."""
        return tuple(leaf.physical() for leaf in self.layout.leaves)

    @cached_property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """Of each leaf, as it is kept."""
        return tuple(self._kept(leaf.dtype) for leaf in self.layout.leaves)

    def pack(self, leaves: Sequence[Tensor]) -> Leaves:
        """(N, …) as the model gives them -> (N, …) as they are kept."""
        return tuple(
            leaf.to_memory(rows).to(dtype).contiguous()
            for rows, leaf, dtype in zip(leaves, self.layout.leaves, self.dtypes, strict=True)
        )

    def unpack(self, packed: Sequence[Tensor]) -> Leaves:
        """The inverse of ``pack``, but for what a smaller format has lost."""
        return tuple(
            leaf.from_memory(rows.to(leaf.dtype))
            for rows, leaf in zip(packed, self.layout.leaves, strict=True)
        )

    def _kept(self, dtype: torch.dtype) -> torch.dtype:
        if self.dtype is None or not dtype.is_floating_point or dtype.itemsize <= self.dtype.itemsize:
            return dtype
        return self.dtype
