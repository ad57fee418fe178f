"""A CSV file: ``path``, one column per task, and optionally ``split`` and ``group``.

Paths are relative to the file. A blank label means that the clip has none for that task.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from unfreeze.data.formats.base import Row, Table
from unfreeze.options import nearest

DESCRIPTION = "a .csv file with the column 'path' and one per task (or a folder with such a labels.csv)"

_NO_TASKS = ("path", "split", "group")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
# Other tools give these columns a meaning that would be lost here; as class names they would be nonsense.
_UNSUPPORTED = ("start", "end", "views", "id")


def recognises(source: Path) -> bool:
    if source.is_dir():
        return (source / "labels.csv").is_file()
    return source.suffix.lower() == ".csv"


def read(source: Path, tasks: Sequence[str] | None) -> Table:
    file = source / "labels.csv" if source.is_dir() else source
    lines = _lines(file)
    _, header = next(lines, (1, []))
    columns = _columns(file, header)
    chosen = _tasks(file, columns, tasks)
    rows = tuple(_row(file, line, columns, cells, chosen) for line, cells in lines)
    if not rows:
        raise ValueError(f"{file} has no rows below its header; write one row per clip")
    return Table(chosen, rows)


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells of every line that is not blank."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, strict=True)
            for cells in reader:
                if any("\n" in cell or "\r" in cell for cell in cells):
                    raise ValueError(f"{file}:{reader.line_num}: a line break in a cell; is a quote missing?")
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, [cell.strip() for cell in cells]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error.reason}); save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{file}:{reader.line_num}: not valid CSV ({error}); fix the quotes there") from None


def _columns(file: Path, header: list[str]) -> list[str]:
    if not header:
        raise ValueError(f"{file} is empty; its first line must name the columns: path and one per task")
    for column in header:
        if not column:
            raise ValueError(f"{file}:1: column {header.index(column) + 1} has no name; name it or remove it")
        if header.count(column) > 1:
            raise ValueError(f"{file}:1: column {column!r} is there twice; rename one of them")
        if column in _UNSUPPORTED:
            raise ValueError(
                f"{file}:1: column {column!r} is not supported: a row is one whole clip in one view; "
                f"cut the clips to files of their own and remove the column"
            )
    if "path" not in header:
        separator = next((name for sign, name in _SEPARATORS.items() if sign in header[0]), None)
        if len(header) == 1 and separator:
            raise ValueError(f"{file}:1: the columns are separated by {separator}; save it with commas")
        raise ValueError(
            f"{file}:1: there is no column 'path'{nearest('path', header)} (columns: {', '.join(header)}); "
            f"name the column of file names 'path'"
        )
    return header


def _tasks(file: Path, columns: list[str], tasks: Sequence[str] | None) -> tuple[str, ...]:
    known = [column for column in columns if column not in _NO_TASKS]
    if not known:
        raise ValueError(f"{file}:1: there is no column of labels; add one column per task beside 'path'")
    for task in tasks or ():
        if task not in known:
            raise ValueError(
                f"{file}:1: there is no column for the task {task!r}{nearest(task, known)} "
                f"(columns of labels: {', '.join(known)})"
            )
    return tuple(dict.fromkeys(tasks)) if tasks else tuple(known)


def _row(file: Path, line: int, columns: list[str], cells: list[str], tasks: tuple[str, ...]) -> Row:
    where = f"{file.name}:{line}"
    if len(cells) != len(columns):
        raise ValueError(
            f"{where}: {len(cells)} cell{'s' * (len(cells) != 1)}, but the header names {len(columns)} "
            "columns; add or remove commas, and quote cells that hold one"
        )
    cell = dict(zip(columns, cells, strict=True))
    if not cell["path"]:
        raise ValueError(f"{where}, column 'path': blank; name the file or remove the row")
    return Row(
        path=file.parent / cell["path"],
        labels={task: cell[task] or None for task in tasks},
        where=where,
        split=cell.get("split") or None,
        group=cell.get("group") or None,
    )
