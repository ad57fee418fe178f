"""A JSON Lines file, one object per clip; ``unfreeze.data.formats.columns`` says what its keys mean.

A key that is not there is blank, as is null. A list of names is a label of several classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from unfreeze.data.formats import columns
from unfreeze.data.formats.base import Table
from unfreeze.data.formats.columns import Cells, Sheet, text_of

DESCRIPTION = "a .jsonl file with one object per clip: 'path' and one key per task"

_SUFFIXES = (".jsonl", ".ndjson")


def recognises(source: Path) -> bool:
    return bool(columns.files_of(source, _SUFFIXES, forced=False))


def read(source: Path, tasks: Sequence[str] | None) -> Table:
    files = columns.files_of(source, _SUFFIXES, forced=True)
    return columns.table([sheet(file, split=split) for file, split in files], tasks)


def sheet(file: Path, name: str | None = None, split: str | None = None) -> Sheet:
    """The values of ``file``.

    Raises:
        ValueError: a line is no JSON object; the message names it.
    """
    name = name or file.name
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error.reason}); save it in UTF-8") from None
    lines: list[tuple[str, Cells]] = []
    # JSON allows some characters in texts that splitlines takes for line ends
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where}: not valid JSON ({error.msg.removesuffix(' at')} at column {error.colno}); "
                f"write one object per line"
            ) from None
        if not isinstance(values, dict):
            raise ValueError(f"{where}: {line.strip()[:40]!r} is no object; write one {{…}} per line")
        cells = {key.strip(): text_of(value, where, key) for key, value in values.items()}
        if any(cells.values()):
            lines.append((where, cells))
    if not lines:
        raise ValueError(f'{file} is empty; write one object per clip: {{"path": …, "label": …}}')
    names = dict.fromkeys(key for _, cells in lines for key in cells)
    return Sheet(file, name, str(file), tuple(names), tuple(lines), (), split)
