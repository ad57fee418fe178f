"""What has happened in a run so far: the only thing that a strategy gets to see.

Plain data without tensors, so that a decision can be replayed, tested as a table and stored as JSON.
Epochs are numbered from 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Mode = Literal["max", "min"]

_MINIMISED = frozenset({"loss", "error", "err", "perplexity", "wer", "cer", "mse", "mae", "rmse", "nll"})


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch: which blocks trained in it and what was measured at its end.

    ``signals`` holds per-block measurements, ``{"grad_norm": {"layer4.1": 0.3}}``, for strategies to use.
    """

    epoch: int
    trainable: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    signals: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """All finished epochs, and which metric a metric-driven strategy watches.

    ``monitor`` may stay None while every epoch has exactly one metric; ``mode`` may stay None where the
    metric's name tells: a loss or an error is minimised, everything else maximised.

    Raises:
        ValueError: ``mode`` is neither, or the records are not of the epochs 1, 2, 3 …
    """

    records: tuple[EpochRecord, ...] = ()
    monitor: str | None = None
    mode: Mode | None = None

    def __post_init__(self) -> None:
        if self.mode not in (None, "max", "min"):
            raise ValueError(f"mode is 'max' or 'min', not {self.mode!r}")
        for expected, record in enumerate(self.records, start=1):
            if record.epoch != expected:
                raise ValueError(f"the history must be gapless: record {expected} is of epoch {record.epoch}")

    @property
    def next_epoch(self) -> int:
        """The epoch (from 1) that a decision taken now is for."""
        return len(self.records) + 1

    def append(self, record: EpochRecord) -> History:
        """The history with one more epoch, which must be ``next_epoch``."""
        return replace(self, records=(*self.records, record))

    def amend(self, record: EpochRecord) -> History:
        """The history with its last epoch replaced: the latest word on an epoch counts."""
        assert self.records, "there is no epoch yet to amend"
        return replace(self, records=(*self.records[:-1], record))

    def watched(self) -> tuple[str, Mode]:
        """The name and the mode of the monitored metric.

        Raises:
            ValueError: nothing says which of several metrics to watch.
        """
        name = self.monitor
        if name is None:
            names = sorted({metric for record in self.records for metric in record.metrics})
            if len(names) != 1:
                there = ", ".join(names) or "none"
                raise ValueError(
                    f"say which metric to watch with monitor=…; the epochs so far report: {there}"
                )
            name = names[0]
        # the metric is what follows the last slash: a task may be called "error", its accuracy is maximised
        words = re.split(r"[^a-z0-9]+", name.rpartition("/")[2].lower())
        return name, self.mode or ("max" if _MINIMISED.isdisjoint(words) else "min")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``from_dict`` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> History:
        """The inverse of ``to_dict``, also after a detour through JSON."""
        records = tuple(EpochRecord(**{**r, "trainable": tuple(r["trainable"])}) for r in data["records"])
        return cls(records=records, monitor=data["monitor"], mode=data["mode"])
