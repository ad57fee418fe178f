"""Which clips an epoch takes, and in which order: a pure function, the same in every process."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unfreeze.data.dataset import derive_seed


def epoch_order(
    count: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool,
    weights: Sequence[float] | None = None,
    rank: int = 0,
    world: int = 1,
) -> list[int]:
    """The indices below ``count`` that process ``rank`` of ``world`` takes in ``epoch``.

    All processes draw the same order and take turns in it. In training (``shuffle``) each takes equally many,
    for which the first few are taken twice where they do not come out even.

    Args:
        weights: one per clip: training draws ``count`` clips with replacement, in proportion to them.
    """
    order = list(range(count))
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
    if shuffle and weights is not None:
        chances = torch.tensor(weights, dtype=torch.float64)
        order = torch.multinomial(chances, count, replacement=True, generator=generator).tolist()
    elif shuffle:
        order = torch.randperm(count, generator=generator).tolist()
    if shuffle and order:
        missing = -count % world
        order += (order * (missing // count + 1))[:missing]
    return order[rank::world]
