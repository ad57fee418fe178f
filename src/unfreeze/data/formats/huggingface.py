"""A video folder of Hugging Face's ``datasets``: ``metadata.csv`` (or ``.jsonl``, ``.parquet``) with the
column ``file_name``, at the root or in each of ``train/``, ``validation/`` and ``test/``.

Every other column is a task. Without a column ``split``, the folder in which a video lies names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from unfreeze.data.formats import columns, csv, jsonl, parquet
from unfreeze.data.formats.base import Row, Table
from unfreeze.data.formats.columns import Sheet
from unfreeze.data.splits import split_named

DESCRIPTION = (
    "a folder with metadata.csv or metadata.jsonl (file_name, one column per task), or one per split"
)

_READERS: dict[str, Callable[[Path, str, str | None], Sheet]] = {
    "metadata.csv": csv.sheet,
    "metadata.jsonl": jsonl.sheet,
    "metadata.parquet": parquet.sheet,
}


def recognises(source: Path) -> bool:
    return source.is_dir() and any(columns.names_files(file) for file, _ in _files(source)[:1])


def read(source: Path, tasks: Sequence[str] | None) -> Table:
    source = source if source.is_dir() else source.parent
    files = _files(source)
    if not files:
        raise ValueError(f"{source} has no {' or '.join(_READERS)}, nor has a split in it; write one")
    sheets = [
        _READERS[file.name](
            file, file.relative_to(source).as_posix(), split_named(file.parent.name) if deep else None
        )
        for file, deep in files
    ]
    table = columns.table(sheets, tasks)
    return replace(table, rows=_with_splits(source, table.rows))


def _files(source: Path) -> list[tuple[Path, bool]]:
    """The metadata files, and whether each is that of a split's folder."""
    splits = sorted(p for p in source.iterdir() if p.is_dir() and split_named(p.name))
    for folders in ([source], splits):
        found = [folder / name for folder in folders for name in _READERS if (folder / name).is_file()]
        if found:
            return [(file, folders is splits) for file in found]
    return []


def _with_splits(source: Path, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows with the splits that their folders name, where no row has another and every folder is one."""
    folders = [
        row.path.relative_to(source).parts[0] if row.path.is_relative_to(source) else "" for row in rows
    ]
    if any(row.split for row in rows) or not all(map(split_named, folders)):
        return rows
    return tuple(replace(row, split=folder) for row, folder in zip(rows, folders, strict=True))
