"""What all tables have in common, whatever kind of file they are: columns with a meaning, and one per task.

- ``path`` (or ``file_name``, or ``file``): a video file, relative to the folder of the table.
- ``views``: further files that show the same event, separated by ``|``. Or else rows that share an ``id`` are
  the views of one event; what else they say must agree.
- ``start``, ``end``: seconds from the first frame; the row is that stretch of the file.
- ``split``, ``group``: see ``unfreeze.data.splits``.

Every other column is a task; a blank cell means that the clip has no label for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unfreeze.data.formats.base import Names, Row, Table
from unfreeze.data.manifest import View
from unfreeze.data.splits import split_named
from unfreeze.options import nearest

PATHS = ("path", "file_name", "file")
MEANINGS = (*PATHS, "views", "id", "split", "group", "start", "end")
# What table formats look for in a folder; ``labels`` is the whole data set, the others one split each.
_STEMS = ("labels", "train", "val", "valid", "validation", "test")

Cells = Mapping[str, Names]


@dataclass(frozen=True)
class Sheet:
    """The cells of one file, stripped, with None for blank ones.

    Attributes:
        name: what messages call the file.
        header: the place that names the columns, for messages.
        lines: place and cells of every line that is not blank.
        split: that of all its rows, where the name of the file or its folder says so.
    """

    file: Path
    name: str
    header: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, Cells], ...]
    notes: tuple[str, ...] = ()
    split: str | None = None


def files_of(source: Path, suffixes: Sequence[str], *, forced: bool) -> list[tuple[Path, str | None]]:
    """The tables that ``source`` means, with the split that their names say: itself, or in a folder
    ``labels.csv``, or ``train.csv`` with its like; none where there is no such file.

    Args:
        forced: the user says that it is one, so any name will do, and none at all is an error.
    """
    if not source.is_dir():
        return [(source, None)] if forced or source.suffix.lower() in suffixes else []
    tables = sorted(p for p in source.iterdir() if p.suffix.lower() in suffixes and p.is_file())
    named = {path.stem.lower(): path for path in tables if path.stem.lower() in _STEMS}
    if "labels" in named:
        return [(named["labels"], None)]
    if "train" in named and (forced or names_files(named["train"])):
        return [(path, split_named(stem)) for stem, path in named.items()]
    if forced and len(tables) == 1:
        return [(tables[0], None)]
    if forced:
        there = f" (there are: {', '.join(p.name for p in tables)})" if tables else ""
        raise ValueError(
            f"{source} has no labels{suffixes[0]} and no train{suffixes[0]}{there}; name the file"
        )
    return []


def names_files(file: Path) -> bool:
    """Whether the first line of a text file names a column of files: other tools write tables too."""
    if file.suffix.lower() in (".parquet", ".pq"):
        return True
    with file.open("rb") as opened:
        first = opened.readline().replace(b"\0", b"")  # UTF-16 is readable without its zero bytes
    return any(name.encode() in first for name in (*PATHS, "views"))


def text_of(value: object, where: str, column: str) -> Names:
    """A cell of a file that has types (JSON, Parquet) as text; a list becomes the names of several classes.

    Raises:
        ValueError: it is neither a text nor a number, nor a list of them.
    """
    if isinstance(value, (list, tuple)):
        names = (text_of(item, where, column) for item in value)
        return tuple(name for name in names if isinstance(name, str))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if math.isnan(value):
            return None
        # a column of whole numbers with a gap is one of floats to pandas
        return str(int(value)) if value.is_integer() else repr(value)
    if value is None or isinstance(value, (str, int)):
        return ("" if value is None else str(value)).strip() or None
    raise ValueError(
        f"{where}, column {column!r}: {type(value).__name__} cannot be read; write a text, a number or a list"
    )


def table(sheets: Sequence[Sheet], tasks: Sequence[str] | None) -> Table:
    """The rows of all sheets together.

    Raises:
        ValueError: a column or a cell is wrong; the message names file, row, column and remedy.
    """
    path_columns = [_check_columns(sheet) for sheet in sheets]
    chosen = _tasks(sheets, tasks)
    rows: list[Row] = []
    notes: list[str] = []
    for sheet, path_column in zip(sheets, path_columns, strict=True):
        if not sheet.lines:
            raise ValueError(f"{sheet.file} has no rows below its header; write one row per clip")
        notes += sheet.notes
        unread = [column for column in PATHS if column in sheet.columns and column != path_column]
        if unread:
            notes.append(
                f"{sheet.header}: column {unread[0]!r} is not read, as {path_column!r} names the files"
            )
        rows += _events([_row(sheet, where, cells, path_column, chosen) for where, cells in sheet.lines])
    return Table(chosen, tuple(rows), tuple(notes), path_column=path_columns[0])


def _check_columns(sheet: Sheet) -> str:
    """The column that names the files."""
    columns = sheet.columns
    for number, column in enumerate(columns, 1):
        if not column:
            raise ValueError(f"{sheet.header}: column {number} has no name; name it or remove it")
        if columns.count(column) > 1:
            raise ValueError(f"{sheet.header}: column {column!r} is there twice; rename one of them")
    for column in (*PATHS, "views"):
        if column in columns:
            return column
    raise ValueError(
        f"{sheet.header}: there is no column 'path' (columns: {', '.join(columns)}); name the "
        f"column of file names 'path'{nearest('path', columns)}"
    )


def _tasks(sheets: Sequence[Sheet], tasks: Sequence[str] | None) -> tuple[str, ...]:
    columns = dict.fromkeys(column for sheet in sheets for column in sheet.columns)
    known = [column for column in columns if column not in MEANINGS]
    header = sheets[0].header
    if not known:
        raise ValueError(f"{header}: there is no column of labels; add one column per task beside the files")
    for task in tasks or ():
        if task not in known:
            raise ValueError(
                f"{header}: there is no column for the task {task!r}{nearest(task, known)} "
                f"(columns of labels: {', '.join(known)})"
            )
    return tuple(dict.fromkeys(tasks)) if tasks else tuple(known)


def _row(sheet: Sheet, where: str, cells: Cells, path_column: str, tasks: tuple[str, ...]) -> tuple[str, Row]:
    """The row and its ``id``, or the empty string."""
    named = cells.get(path_column)
    # a bar may be part of a name where there is room for others elsewhere
    path = [named] if path_column != "views" and isinstance(named, str) else _several(named)
    files = path + _several(cells.get("views"))
    if not path:
        raise ValueError(f"{where}, column {path_column!r}: blank; name the file or remove the row")
    start, end = _seconds(where, cells, "start"), _seconds(where, cells, "end")
    if end is not None and end <= (start or 0.0):
        raise ValueError(
            f"{where}, columns 'start' and 'end': nothing lies between {start or 0:g} and {end:g} seconds; "
            f"'end' must be above 'start'"
        )
    return _text(cells.get("id")), Row(
        views=tuple(View(sheet.file.parent / name, start, end) for name in dict.fromkeys(files)),
        labels={task: cells.get(task) for task in tasks},
        where=where,
        split=_text(cells.get("split")) or sheet.split,
        group=_text(cells.get("group")) or None,
    )


def _several(cell: Names) -> list[str]:
    """The file names in a cell: those of a list, or those between bars."""
    names = cell.split("|") if isinstance(cell, str) else cell or ()
    return [stripped for name in names if (stripped := name.strip())]


def _text(cell: Names) -> str:
    return "|".join(cell) if isinstance(cell, tuple) else cell or ""


def _seconds(where: str, cells: Cells, column: str) -> float | None:
    text = _text(cells.get(column))
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(
            f"{where}, column {column!r}: {text!r} is no number of seconds from the first frame; write it "
            f"like 12.5, or leave it blank"
        )
    return value


def _events(rows: Iterable[tuple[str, Row]]) -> list[Row]:
    """The rows, with those of one id as several views of one event, in the place of the first of them."""
    events: list[Row] = []
    known: dict[str, int] = {}
    for name, row in rows:
        if not name or name not in known:
            if name:
                known[name] = len(events)
            events.append(row)
            continue
        first = events[known[name]]
        _check_agreement(name, first, row)
        places = first.view_rows or (first.where,) * len(first.views)
        events[known[name]] = replace(
            first, views=first.views + row.views, view_rows=places + (row.where,) * len(row.views)
        )
    return events


def _check_agreement(name: str, first: Row, row: Row) -> None:
    said = {**first.labels, "split": first.split, "group": first.group}
    says = {**row.labels, "split": row.split, "group": row.group}
    for column in said:
        if said[column] != says[column]:
            was, now = _text(said[column]) or "blank", _text(says[column]) or "blank"
            raise ValueError(
                f"{row.where}, column {column!r}: {now!r}, but {first.where} has {was!r} for the same event "
                f"(id {name!r}); rows of one id are views of one event and must agree"
            )
