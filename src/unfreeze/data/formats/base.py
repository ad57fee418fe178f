"""What every format reads into: rows as the user wrote them, before any of them is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from unfreeze.data.manifest import View
from unfreeze.options import nearest

# The name of a class; several of a multi-label task; None where there is no label.
Names = str | tuple[str, ...] | None


@dataclass(frozen=True)
class Row:
    """One event as the user named it.

    Attributes:
        views: at least one; nobody has looked for the files yet.
        labels: task -> class name; None where there is none. ``a|b`` is still one text when it was just read.
        where: the place to look at when something is wrong with it: ``labels.csv:17``.
        view_rows: the same of each view, where every view has a row of its own.
    """

    views: tuple[View, ...]
    labels: Mapping[str, Names]
    where: str
    split: str | None = None
    group: str | None = None
    view_rows: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The file of the first view."""
        return self.views[0].path

    def located_views(self) -> list[tuple[View, str]]:
        """Every view with the place where it is named."""
        return list(zip(self.views, self.view_rows or [self.where] * len(self.views), strict=True))


@dataclass(frozen=True)
class Table:
    """Everything that a source says.

    Attributes:
        tasks: in the order in which the source has them.
        notes: what was left aside while reading, one line each.
        classes: task -> class names in their order, where the source itself fixes them, found or not.
        path_column: the column that names files; None where there are no columns.
    """

    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    path_column: str | None = None


class Format(Protocol):
    """A module of this package: its name is the format's."""

    DESCRIPTION: str

    def recognises(self, source: Path) -> bool:
        """Whether ``source``, which exists, looks like this format."""

    def read(self, source: Path, tasks: Sequence[str] | None) -> Table:
        """The rows of ``source`` with these tasks, or with all that there are.

        Raises:
            ValueError: it cannot be read; the message names file, row, column and remedy.
        """


def check_tasks(source: object, tasks: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """The tasks to read of those that ``source`` has.

    Raises:
        ValueError: it does not have one of ``tasks``.
    """
    for task in tasks or ():
        if task not in known:
            raise ValueError(
                f"{source} has no task {task!r}{nearest(task, known)} (it has {', '.join(known)})"
            )
    return tuple(dict.fromkeys(tasks)) if tasks else tuple(known)
