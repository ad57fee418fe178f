"""What a strategy will do in the epochs to come: a dry replay, in which nothing ever gets better."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from unfreeze.history import EpochRecord, History
from unfreeze.strategies.base import BlockInfo, Decision, Strategy

STALLED = 0.5  # the monitored metric of an epoch that was not trained, where none was
_NAME = "metric"  # its name, where a history says none


@dataclass(frozen=True)
class Forecast:
    """How much will stay frozen.

    Attributes:
        boundaries: number of leading frozen blocks in each epoch still to come.
        time_driven: no decision follows from a measurement, so it will be so; otherwise blocks that thaw when
            a metric stops improving may stay frozen for longer.
        floor: the lowest of ``boundaries``; the number of blocks where no epoch is to come.
    """

    boundaries: tuple[int, ...]
    time_driven: bool
    floor: int


def forecast(
    strategy: Strategy, anatomy_blocks: Sequence[BlockInfo], history: History, epochs: int
) -> Forecast:
    """The boundaries of the epochs after ``history`` up to ``epochs``, if the metric never improves again.

    Raises:
        ValueError: what the strategy raises (a metric that the history lacks, a block that the model lacks).
    """
    decisions = dry_run(strategy, anatomy_blocks, history, epochs)
    boundaries = tuple(boundary_of(decision.trainable, anatomy_blocks) for decision in decisions)
    return Forecast(
        boundaries,
        time_driven=not any(decision.measured for decision in decisions),
        floor=min(boundaries, default=len(anatomy_blocks)),
    )


def boundary_of(trainable: Collection[str], blocks: Sequence[BlockInfo]) -> int:
    """The number of leading blocks that do not train.

    A block without parameters is frozen unless the decision names it: named, it is in training mode, and what
    it lets through (dropout, a running mean) is not the same every time.
    """
    return next((index for index, block in enumerate(blocks) if block.name in trainable), len(blocks))


def dry_run(
    strategy: Strategy, blocks: Sequence[BlockInfo], history: History, epochs: int
) -> tuple[Decision, ...]:
    """The decisions of the epochs after ``history`` up to ``epochs``, if the metric never improves again.

    It stands at the worst value that was seen. Strategies that wait for a plateau thaw the soonest then.
    """
    metric, value = _stalled(history)
    decisions = []
    while history.next_epoch <= epochs:
        decisions.append(strategy.decide(history, blocks))
        record = EpochRecord(history.next_epoch, decisions[-1].trainable, {metric: value}, {})
        history = history.append(record)
    return tuple(decisions)


def _stalled(history: History) -> tuple[str, float]:
    """The name of the monitored metric, and a value that is no improvement on any so far."""
    if not history.records:
        return history.monitor or _NAME, STALLED
    try:
        metric, mode = history.watched()
    except ValueError:  # several and none is watched: a strategy that wants one says so itself
        return _NAME, STALLED
    seen = [record.metrics[metric] for record in history.records if metric in record.metrics]
    seen = [value for value in seen if math.isfinite(value)]
    return metric, (min if mode == "max" else max)(seen, default=STALLED)
