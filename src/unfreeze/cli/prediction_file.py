"""What ``predict`` writes: a CSV or JSONL file that grows by one video at a time and can be gone on with.

The rows of a video are written at once. Where a run was stopped in the middle of them, going on drops what
there is of the last video, and classifies it again.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from unfreeze.cli.trained import check_new, csv_line

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """What a row says.

    A row is ``{"path": …, "start": …, "end": …, "windows": …, "predictions": {task: {"predicted": …,
    "probabilities": {class: …}}}}``: the mean over the file's ``windows``, or one window of them, in which
    case it has ``window``, too (from 1). ``start`` and ``end`` are seconds. ``predicted`` is a class, or the
    list of classes of a multi-label task.
    """

    tasks: Mapping[str, Sequence[str]]
    per_window: bool

    @property
    def before(self) -> tuple[str, ...]:
        """The names of what comes before the tasks."""
        return ("path", "start", "end", *(("window",) if self.per_window else ()), "windows")

    @property
    def columns(self) -> tuple[str, ...]:
        """Of a CSV file: ``motion`` is the predicted class, ``p(motion=left)`` the probability of one.

        ``path``, ``start``, ``end`` and the tasks are what a data set in CSV has, so the file is one.
        """
        found = list(self.before)
        for task, classes in self.tasks.items():
            found += [task, *(f"p({task}={name})" for name in classes)]
        return tuple(found)


class Form(Protocol):
    """How rows become text, and back as far as going on needs it: the path, the window, all windows."""

    def header(self) -> str: ...

    def line(self, row: Row) -> str: ...

    def read(self, text: str) -> list[tuple[str, str, int, int]]:
        """(text of the row, path, its window, its windows) of all whole rows; ValueError: another layout."""


class PredictionFile:
    """``path``, to which rows are added; ``done`` are the videos that it has already.

    Args:
        resume: go on with a file that is there, rather than refuse it.

    Raises:
        ValueError: the extension is unknown, the file is there already, or it is of another model or layout.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, layout: Layout, *, resume: bool) -> None:
        self.path = path
        self._form = _form(path, layout)
        self.done: frozenset[str] = frozenset()
        if resume and path.exists():
            self.done = self._go_on()
        else:
            check_new(path, "go on with it by --resume, or name another file")
            self._write("x", self._form.header())

    def append(self, rows: Sequence[Row]) -> None:
        """All rows of one video."""
        self._write("a", "".join(map(self._form.line, rows)))

    def _go_on(self) -> frozenset[str]:
        """Drop what is not whole; the videos that are."""
        text = self.path.read_text(encoding="utf-8", errors="surrogateescape")
        try:
            rows = self._form.read(text)
        except ValueError as error:
            raise ValueError(f"--output {self.path}: {error}; name another file") from error
        while rows and rows[-1][2] < rows[-1][3]:  # stopped between two windows of this video
            torn = rows[-1][1]
            rows = [row for row in rows if row[1] != torn]
        whole = self._form.header() + "".join(row[0] for row in rows)
        if whole != text:
            draft = self.path.with_name(f"{self.path.name}.tmp")
            draft.write_text(whole, encoding="utf-8", errors="surrogateescape", newline="")
            os.replace(draft, self.path)
        return frozenset(path for _, path, _, _ in rows)

    def _write(self, mode: str, text: str) -> None:
        # names of files may be no UTF-8; they are written as they are
        with self.path.open(mode, encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)


def check_output(path: Path, *, resume: bool) -> None:
    """What can be known to be wrong with ``--output`` before a model is loaded.

    Raises:
        ValueError: the extension is unknown, or the file is there already.
    """
    _form(path, Layout({}, False))
    if not (resume and path.exists()):
        check_new(path, "go on with it by --resume, or name another file")


def _form(path: Path, layout: Layout) -> Form:
    forms: dict[str, type[_Csv] | type[_Jsonl]] = {".csv": _Csv, ".jsonl": _Jsonl}
    if path.suffix.lower() not in forms:
        raise ValueError(f"--output {path}: the extension says the form; name a .csv or a .jsonl file")
    return forms[path.suffix.lower()](layout)


class _Csv:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def header(self) -> str:
        return csv_line(self.layout.columns)

    def line(self, row: Row) -> str:
        cells = [row[name] for name in self.layout.before]
        for task in self.layout.tasks:
            found = row["predictions"][task]
            predicted = found["predicted"]
            cells.append(predicted if isinstance(predicted, str) else "|".join(predicted))
            cells += found["probabilities"].values()
        return csv_line(cells)

    def read(self, text: str) -> list[tuple[str, str, int, int]]:
        whole = text if text.endswith("\n") else text[: text.rfind("\n") + 1]
        header, *rows = csv.reader(io.StringIO(whole, newline="")) if whole else [[]]
        columns = self.layout.columns
        if tuple(header) != columns:
            raise ValueError("its columns are not those of this model and these flags")
        number = {name: columns.index(name) for name in self.layout.before}
        found = []
        for cells in rows:
            if len(cells) != len(columns):  # a torn row; a name with a line break in it can end like that
                break
            windows = int(cells[number["windows"]])
            window = int(cells[number["window"]]) if self.layout.per_window else windows
            found.append((csv_line(cells), cells[number["path"]], window, windows))
        return found


class _Jsonl:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def header(self) -> str:
        return ""

    def line(self, row: Row) -> str:
        return json.dumps(row) + "\n"

    def read(self, text: str) -> list[tuple[str, str, int, int]]:
        whole = text[: text.rfind("\n") + 1]
        found = []
        for line in whole.splitlines(keepends=True):
            try:
                row = json.loads(line)
                tasks = {task: list(said["probabilities"]) for task, said in row["predictions"].items()}
                before = tuple(row)[:-1]
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ValueError("it holds other things than predictions") from None
            if before != self.layout.before or tasks != {t: list(c) for t, c in self.layout.tasks.items()}:
                raise ValueError("its rows are not those of this model and these flags")
            found.append((line, row["path"], row.get("window", row["windows"]), row["windows"]))
        return found
