"""What happened to a cache in all of a run's processes, counted in memory that they share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.data import get_worker_info

_ROWS = 64  # each process counts in a row of its own; that more workers share one may lose a count
_FIELDS = ("hits", "misses", "stored", "stored_bytes", "full", "error")


@dataclass(frozen=True)
class Stats:
    """Counts since the run began.

    Attributes:
        hits: clips that were found.
        misses: clips that were not.
        stored: entries that were written.
        stored_bytes: their size.
        full: entries that found no room.
        error: the number (``errno``) of the error that ended writing, or 0.
    """

    hits: int
    misses: int
    stored: int
    stored_bytes: int
    full: int
    error: int


class Counters:
    """A table of counts that goes along into worker processes, however they are started."""

    def __init__(self) -> None:
        self._table = torch.zeros((_ROWS, len(_FIELDS)), dtype=torch.int64).share_memory_()

    def add(self, **counts: int) -> None:
        worker = get_worker_info()
        row = self._table[0 if worker is None else 1 + worker.id % (_ROWS - 1)]
        for field, count in counts.items():
            row[_FIELDS.index(field)] += count

    def stats(self) -> Stats:
        sums = dict(zip(_FIELDS, self._table.sum(0).tolist(), strict=True))
        return Stats(**sums | {"error": int(self._table[:, -1].max())})  # of several errors, any will do
