"""A Parquet file; ``unfreeze.data.formats.columns`` says what its columns mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unfreeze.data.formats import columns
from unfreeze.data.formats.base import Table
from unfreeze.data.formats.columns import Sheet, text_of

DESCRIPTION = "a .parquet file with the column 'path' and one per task"

_SUFFIXES = (".parquet", ".pq")


def recognises(source: Path) -> bool:
    return bool(columns.files_of(source, _SUFFIXES, forced=False))


def read(source: Path, tasks: Sequence[str] | None) -> Table:
    files = columns.files_of(source, _SUFFIXES, forced=True)
    return columns.table([sheet(file, split=split) for file, split in files], tasks)


def sheet(file: Path, name: str | None = None, split: str | None = None) -> Sheet:
    """The values of ``file``; rows are counted from 1.

    Raises:
        ValueError: it is no Parquet file, or pyarrow is not installed.
    """
    name = name or file.name
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise ValueError(f"reading {file} needs pyarrow: pip install 'unfreeze[parquet]'") from None
    try:
        content = parquet.read_table(file, partitioning=None)
    except (ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{file} is no Parquet file that can be read ({reason}); write it anew") from None
    values = {column: content.column(i).to_pylist() for i, column in enumerate(content.column_names)}
    # of two columns of one name a dict keeps one, but the names are all there to be complained of
    lines = []
    for i in range(content.num_rows):
        where = f"{name}, row {i + 1}"
        lines.append((where, {column: text_of(cells[i], where, column) for column, cells in values.items()}))
    return Sheet(file, name, str(file), tuple(content.column_names), tuple(lines), (), split)
