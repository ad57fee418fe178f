"""What an epoch of training adds up to: losses, clips, and where the time went."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass
class Trained:
    """What an epoch of training measured: losses, clips, seconds, and those spent waiting for data."""

    losses: Mapping[str, float]
    clips: int
    seconds: float
    waited: float


@dataclass
class Totals:
    """Sums over an epoch."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    clips: int = 0

    def add(self, sums: Mapping[str, Tensor], counts: Mapping[str, int], clips: int) -> None:
        for task, value in zip(sums, torch.stack([t.detach() for t in sums.values()]).tolist(), strict=True):
            self.sums[task] = self.sums.get(task, 0.0) + value
            self.counts[task] = self.counts.get(task, 0) + counts[task]
        self.clips += clips

    def losses(self) -> dict[str, float]:
        """``{"loss": mean over tasks, "<task>/loss": mean over its labelled clips}``."""
        by_task = {task: self.sums[task] / count for task, count in self.counts.items() if count}
        return {"loss": self.mean()} | {f"{task}/loss": value for task, value in by_task.items()}

    def mean(self) -> float:
        by_task = [self.sums[task] / count for task, count in self.counts.items() if count]
        return math.fsum(by_task) / len(by_task) if by_task else math.nan


class Stopwatch:
    """How long an epoch has taken, and how much of that went into waiting for the next batch."""

    def __init__(self) -> None:
        self.started, self.waited = time.perf_counter(), 0.0

    def over(self, batches: Iterable[T]) -> Iterator[T]:
        source = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def share(self) -> float:
        return self.waited / self.elapsed()

    def rate(self, clips: int) -> float:
        return clips / self.elapsed()
