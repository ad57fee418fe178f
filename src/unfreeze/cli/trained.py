"""What evaluate and predict share: finding the checkpoint that the user means, and printing a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

_WIDE = 10_000


def checkpoint_path(name: str) -> Path:
    """The checkpoint file that ``name`` means: itself, or the ``best.pt`` of a run folder.

    Raises:
        ValueError: the folder holds no ``best.pt``.
    """
    path = Path(name)
    if not path.is_dir():
        return path
    if not (path / "best.pt").is_file():
        raise ValueError(f"--checkpoint {path}: the folder holds no best.pt; give a run folder or a .pt file")
    return path / "best.pt"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, justify_right: bool = False) -> None:
    """A table on stdout. A terminal folds long cells; into a pipe or a file they go whole.

    Args:
        justify_right: whether all columns but the first hold numbers.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, title in enumerate(header):
        table.add_column(Text(title), justify="right" if justify_right and index else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table, crop=False)
