"""What every format reads into: rows as the user wrote them, before any of them is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Row:
    """One clip as the user named it.

    Attributes:
        path: the file, which nobody has looked for yet.
        labels: task -> class name; None where there is none.
        where: the place to look at when something is wrong with it: ``labels.csv:17``.
    """

    path: Path
    labels: Mapping[str, str | None]
    where: str
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Table:
    """Everything that a source says.

    Attributes:
        tasks: in the order in which the source has them.
        notes: what was left aside while reading, one line each.
    """

    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


class Format(Protocol):
    """A module of this package: its name is the format's."""

    DESCRIPTION: str

    def recognises(self, source: Path) -> bool:
        """Whether ``source``, which exists, looks like this format; at most one format may say so."""

    def read(self, source: Path, tasks: Sequence[str] | None) -> Table:
        """The rows of ``source`` with these tasks, or with all that there are.

        Raises:
            ValueError: it cannot be read; the message names file, row, column and remedy.
        """
