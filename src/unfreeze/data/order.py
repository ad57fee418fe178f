"""In which order an epoch shows its clips: a pure function of (seed, epoch), and of the rank that asks.

All ranks make the same order and each takes its own share of it, so that no two need to talk, and none draws
a clip because another did (samplers that draw per rank repeat each other's clips).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from unfreeze.data.seeds import derive_seed


def epoch_order(
    count: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool,
    weights: Sequence[float] | NDArray[np.float64] | None = None,
    rank: int = 0,
    world: int = 1,
) -> list[int]:
    """The indices that one rank sees in an epoch, in order.

    Without ``weights`` all ranks together see each of ``range(count)`` once, shuffled or not. With them,
    ``count`` clips are drawn with replacement, each in proportion to its weight. In training, where the ranks
    do not come out even, the order goes on from its beginning until they do: a rank that runs out of batches
    would keep the others waiting for ever. In evaluation no clip may count twice.

    Args:
        weights: one per clip, not negative, one above 0; for shuffled orders.
        rank, world: which share of how many; rank r takes places r, r + world, r + 2 * world …
    """
    assert 0 <= rank < world, f"rank {rank} of {world}"
    order = _order(count, seed=seed, epoch=epoch, shuffle=shuffle, weights=weights)
    if world == 1 or not count or not shuffle:
        return order[rank::world]
    each = -(-count // world)
    return [order[place % count] for place in range(rank, each * world, world)]


def _order(
    count: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool,
    weights: Sequence[float] | NDArray[np.float64] | None,
) -> list[int]:
    if not shuffle:
        assert weights is None, "only training draws clips by weight"
        return list(range(count))
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
    if weights is None:
        return torch.randperm(count, generator=generator).tolist()
    assert len(weights) == count, f"{len(weights)} weights for {count} clips"
    if not count:
        return []
    edges = np.cumsum(np.asarray(weights, dtype=np.float64))
    assert 0 < edges[-1] < np.inf, "weights are finite, and one is above 0"
    # by hand, as torch.multinomial knows no more than 2**24 clips
    draws = torch.rand(count, dtype=torch.float64, generator=generator).numpy() * edges[-1]
    # rounding may put a draw on the last edge, beyond the last clip that can be drawn
    last = int(np.searchsorted(edges, edges[-1]))
    return [int(index) for index in np.minimum(np.searchsorted(edges, draws, side="right"), last)]
