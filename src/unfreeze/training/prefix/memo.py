"""What is kept of a split, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from unfreeze.data.batch import Batch
from unfreeze.prefix.packing import Leaves
from unfreeze.prefix.store import ActivationStore


class Found(NamedTuple):
    """What is kept of the clips of a batch, as it is stored.

    Attributes:
        here: places in the batch of the clips that are kept at the boundary of the cache, and their rows.
        lower: of those that are kept at a lower boundary alone.
    """

    here: tuple[Sequence[int], Leaves] | None
    lower: tuple[Sequence[int], Leaves] | None


@dataclass
class Memo:
    """The cache of a split at a boundary, over the one at a lower boundary that it takes the place of.

    Attributes:
        rows: how many rows a sample has, by its index.
    """

    store: ActivationStore
    rows: Callable[[int], int]
    lower: ActivationStore | None = None

    def has(self, index: int, version: int) -> bool:
        """Whether this clip, in this view, need not be decoded."""
        if self.store.has(index, version):
            return True
        return self.lower is not None and self.lower.has(index, version)

    def read(self, batch: Batch) -> Found:
        """What there is of a batch."""
        keys = list(zip(batch["index"].tolist(), batch["version"].tolist(), strict=True))
        fresh = set(batch["fresh"].tolist())
        kept = [place for place in range(len(keys)) if place not in fresh]
        here = [place for place in kept if self.store.has(*keys[place])]
        found_here = (here, self.store.get([keys[place] for place in here])) if here else None
        rest = sorted(set(kept) - set(here))
        if not rest:
            return Found(found_here, None)
        assert self.lower is not None, "a clip that is not decoded is kept somewhere"
        return Found(found_here, (rest, self.lower.get([keys[place] for place in rest])))

    def keep(self, batch: Batch, places: Sequence[int], leaves: Leaves) -> None:
        """Store the rows of the clips at these places of a batch."""
        start = 0
        for place in places:
            index, version = int(batch["index"][place]), int(batch["version"][place])
            rows = self.rows(index)
            self.store.put(index, version, tuple(leaf[start : start + rows] for leaf in leaves))
            start += rows

    def together(self, batch: Batch, parts: Sequence[tuple[Sequence[int], Leaves]]) -> Leaves:
        """The rows of all clips in the order of the batch.

        Args:
            parts: places in the batch, ascending, and the rows of the clips there; together all of them.
        """
        if len(parts) == 1:
            return parts[0][1]
        counts = [self.rows(int(index)) for index in batch["index"]]
        starts = [0, *torch.tensor(counts).cumsum(0).tolist()]
        targets = [row for places, _ in parts for p in places for row in range(starts[p], starts[p + 1])]
        order = torch.tensor(targets).argsort()
        leaves: list[Tensor] = []
        for of in zip(*(leaves for _, leaves in parts), strict=True):
            joined = torch.cat([leaf.to(of[0].device) for leaf in of])
            leaves.append(joined.index_select(0, order.to(joined.device)))
        return tuple(leaves)
