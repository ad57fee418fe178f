"""The least arithmetic that a run can do when nothing frozen is computed twice: what no cache can beat."""

from __future__ import annotations

from collections.abc import Sequence

from unfreeze.prefix.costs import Costs, Profile
from unfreeze.prefix.plan import plan


def flop_bound(
    boundaries: Sequence[int],
    flops_per_block: Sequence[float],
    refresh: float,
    train_rows: int,
    val_rows: int,
) -> tuple[float, float]:
    """FLOPs of a whole run that freezes naively, and the fewest with a prefix cache that reads for nothing.

    The first divided by the second is the most that a cache can gain where arithmetic is all that takes time.

    A forward pass counts 1 for every block. A backward pass counts 2 (gradients of weights and of inputs)
    for every block behind the boundary and nothing for those before it, so the gradient that leaves the first
    trainable block counts too, although its first layer needs none: of a block of two convolutions that is up
    to a quarter of its backward pass. A frozen block behind a trainable one counts like a trainable one.

    Args:
        boundaries: number of leading frozen blocks in each epoch. All 0 is full fine-tuning.
        flops_per_block: forward FLOPs of one row; after the blocks there may be one entry more, of the heads.
        refresh: share of the training rows that is drawn anew in each epoch after the first.
    """
    flops = [float(count) for count in flops_per_block]
    behind = [sum(flops[boundary:]) for boundary in range(len(flops) + 1)]
    # a plan whose seconds are FLOPs and whose bytes are free; heads pass for a block that never freezes
    profile = Profile((*flops, 0.0), tuple(map(round, flops)), (0,) * (len(flops) + 1))
    suffix = [(3 * train_rows + val_rows) * count for count in behind]
    costs = Costs(decode=0.0, profile=profile, suffix=suffix)
    best = plan(boundaries, train_rows=train_rows, val_rows=val_rows, refresh=refresh, costs=costs)
    return best.naive, best.seconds
