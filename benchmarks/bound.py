"""How much faster a run could be if frozen layers cost nothing after their first time, counted in FLOPs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from unfreeze.anatomy import Anatomy
from unfreeze.history import EpochRecord, History
from unfreeze.models import VideoClassifier
from unfreeze.strategies import Strategy
from unfreeze.strategies.base import BlockInfo


def trained_blocks(
    strategy: Strategy, sizes: Sequence[tuple[str, int]], epochs: int
) -> list[tuple[str, ...]]:
    """The blocks that a strategy which asks for no metric trains in each epoch.

    Args:
        sizes: name and parameters of every block, from input to output.
    """
    blocks = [BlockInfo(name, parameters) for name, parameters in sizes]
    history = History(monitor="val/loss")
    for epoch in range(1, epochs + 1):
        trainable = strategy.decide(history, blocks).trainable
        history = history.append(EpochRecord(epoch, trainable, {"val/loss": 1.0}))
    return [record.trainable for record in history.records]


def frozen_blocks(trained: Sequence[str], blocks: Sequence[str]) -> int:
    """How many blocks are frozen before the first that trains."""
    return next((place for place, name in enumerate(blocks) if name in trained), len(blocks))


def forward_flops(model: VideoClassifier, anatomy: Anatomy) -> list[int]:
    """FLOPs (2 x multiply-adds) of one clip per block, and last those of all that is in no block."""
    model = model.to("meta").eval()  # shapes alone are enough to count
    expected = model.preprocessing
    clip = torch.empty(1, 3, expected.frames, *expected.crop, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clip)
    counts = {name: sum(of_module.values()) for name, of_module in counter.get_flop_counts().items()}
    top = type(model).__name__
    blocks = [sum(counts.get(f"{top}.{root}", 0) for root in block.roots) for block in anatomy.blocks]
    return [*blocks, counter.get_total_flops() - sum(blocks)]


def run_flops(
    flops: Sequence[int],
    frozen: Sequence[int],
    *,
    train: int,
    val: int,
    refresh: float | None,
) -> float:
    """FLOPs of a run; a backward pass through a block counts twice the forward.

    The lower bound of every cache: each frozen block sees each view of a clip once, and keeping it is free.

    Args:
        flops: of one clip per block, last those behind the blocks.
        frozen: leading frozen blocks in each epoch.
        train, val: clips.
        refresh: share of the training clips that show a new view in each epoch; None keeps nothing.
    """
    total = 0.0
    kept = 0  # blocks
    for boundary in frozen:
        prefix, suffix = sum(flops[:boundary]), sum(flops[boundary:])
        total += (3 * train + val) * suffix
        if refresh is None:
            total += (train + val) * prefix
            continue
        fresh = sum(flops[kept:boundary])  # frozen for the first time
        total += (train + val) * fresh + refresh * train * (prefix - fresh)
        kept = max(kept, boundary)
    return total
