"""A CSV file; ``unfreeze.data.formats.columns`` says what its columns mean.

UTF-8 and commas are the rule. UTF-16 with its mark (Excel's "Unicode text"), semicolons and tabs are
recognised, and read with a note.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from unfreeze.data.files import is_video
from unfreeze.data.formats import columns
from unfreeze.data.formats.base import Table
from unfreeze.data.formats.columns import Cells, Sheet

DESCRIPTION = "a .csv file with the column 'path' and one per task (or a folder with such a labels.csv)"

_SUFFIXES = (".csv", ".tsv")
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def recognises(source: Path) -> bool:
    return bool(columns.files_of(source, _SUFFIXES, forced=False))


def read(source: Path, tasks: Sequence[str] | None) -> Table:
    files = columns.files_of(source, _SUFFIXES, forced=True)
    return columns.table([sheet(file, split=split) for file, split in files], tasks)


def sheet(file: Path, name: str | None = None, split: str | None = None) -> Sheet:
    """The cells of ``file``.

    Raises:
        ValueError: it is no valid CSV; the message names line and remedy.
    """
    name = name or file.name
    text, notes = _text(file)
    if not text.strip():
        raise ValueError(f"{file} is empty; its first line must name the columns: path and one per task")
    separator = _separator(text)
    if separator != ",":
        notes.append(f"{file}: read with {_SEPARATORS[separator]} between the columns")
    (start, header), *lines = _lines(file, name, text, separator)
    _check_header(file, start, header)
    cells = tuple((f"{name}:{line}", _cells(f"{name}:{line}", header, values)) for line, values in lines)
    return Sheet(file, name, f"{file}:{start}", tuple(header), cells, tuple(notes), split)


def _text(file: Path) -> tuple[str, list[str]]:
    data = file.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16"), [f"{file}: read as UTF-16, as its first bytes say"]
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{file} is not valid UTF-16 ({error.reason}); save it as CSV in UTF-8"
            ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = _column_at(data, error.start)
        raise ValueError(
            f"{file}:{line}{f', column {column!r}' if column else ''}: not UTF-8 (byte "
            f"{data[error.start]:#04x}); save it as CSV in UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(f"{file} has zero bytes, as UTF-16 without its mark has; save it as CSV in UTF-8")
    return text, []


def _column_at(data: bytes, position: int) -> str:
    """The column of a byte in a table of unknown encoding; nothing where it is in the header or outside."""
    text = data[: position + 1].decode("latin-1")  # every byte is a character of it
    header, _, rest = text.lstrip().partition("\n")
    separator = _separator(header)
    before = next(csv.reader([rest.rpartition("\n")[2]], delimiter=separator), [])
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
    return names[len(before) - 1] if 0 < len(before) <= len(names) else ""


def _separator(text: str) -> str:
    """What stands between the columns: what makes the first line name the files, or else most columns."""
    first = next(line for line in text.splitlines() if line.strip())

    def fit(separator: str) -> tuple[bool, int]:
        names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
        return any(name in names for name in (*columns.PATHS, "views")), len(names)

    return max(_SEPARATORS, key=fit)  # commas where several are as good


def _lines(file: Path, name: str, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Line number and stripped cells of every line that is not blank."""
    lines = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    try:
        for cells in reader:
            if any("\n" in cell or "\r" in cell for cell in cells):
                raise ValueError(f"{file}:{reader.line_num}: a line break in a cell; is a quote missing?")
            if any(cell.strip() for cell in cells):
                lines.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise ValueError(f"{file}:{reader.line_num}: not valid CSV ({error}); fix the quotes there") from None
    return lines


def _check_header(file: Path, line: int, header: list[str]) -> None:
    if any(name in columns.MEANINGS for name in header):
        return
    if is_video(Path(header[0])) or is_video(Path(header[0].split()[0] if header[0] else "")):
        raise ValueError(
            f"{file}:{line}: {header[0]!r} is a video and no name of a column; put a first line like "
            f"path,label, or read it as a list with --data_format list"
        )
    if len(header) == 1 and "|" in header[0]:
        raise ValueError(f"{file}:{line}: the columns are separated by bars; save it with commas")


def _cells(where: str, header: list[str], values: list[str]) -> Cells:
    if len(values) != len(header):
        raise ValueError(
            f"{where}: {len(values)} cell{'s' * (len(values) != 1)}, but the header names {len(header)} "
            "columns; add or remove commas, and quote cells that hold one"
        )
    return {column: value or None for column, value in zip(header, values, strict=True)}
