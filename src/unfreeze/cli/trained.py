"""What the commands on a trained model share: which checkpoint is meant, where results go, tables."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfreeze.training.config import TrainConfig
from unfreeze.training.rundir import BEST, LAST, find_run

if TYPE_CHECKING:
    from unfreeze.data import Manifest
    from unfreeze.models import VideoClassifier

CHECKPOINT_HELP = (
    "a run folder (its best.pt), a checkpoint file, or best or last: that file of the latest run in runs/"
)
_WIDE = 10_000


def checkpoint_path(name: str) -> Path:
    """The checkpoint file that ``name`` means: itself, the ``best.pt`` of a run folder, or ``best`` or
    ``last`` of the run in ``runs/`` that was written to last (a folder of that name is ``./best``).

    Raises:
        ValueError: there is no run, or the folder holds no ``best.pt``.
    """
    if name in ("best", "last"):
        path = _latest_run(name)
        wanted = path / (BEST if name == "best" else LAST)
    else:
        path = wanted = Path(name)
        if path.is_dir():
            wanted = path / BEST
    if wanted != path and not wanted.is_file():
        raise ValueError(
            f"--checkpoint {path}: the folder holds no {wanted.name}; give a run folder or a .pt file"
        )
    return wanted


def _latest_run(name: str) -> Path:
    runs = TrainConfig.output
    try:
        return find_run("last", runs)
    except ValueError:
        raise ValueError(
            f"--checkpoint {name}: there is no run in {runs}; name a run folder or a .pt file"
        ) from None


def trained_data(
    content: Mapping[str, Any],
    model: VideoClassifier,
    source: str | None = None,
    *,
    tasks: Sequence[str] | None = None,
    data_format: str | None = None,
) -> Manifest:
    """The data set ``source``, or the run's own, seen with the classes of the model.

    An automatic split is cut as the run cut it, so that the validation clips of its own data are the run's.

    Args:
        content: of the checkpoint.
        tasks: those to keep; all of the model by default.
        data_format: see ``load_manifest``; None is the run's for its own data, else ``auto``.

    Raises:
        ValueError: the data does not fit the model.
        OSError: it cannot be read.
    """
    from unfreeze.data import load_manifest

    trained = content["config"]
    own = source is None
    return load_manifest(
        trained["data"] if source is None else source,
        tasks=tasks,
        data_format=data_format or (trained.get("data_format", "auto") if own else "auto"),
        val_fraction=trained["val_fraction"],
        folds=trained.get("folds") if own else None,
        fold=trained.get("fold") if own else None,
        seed=trained["seed"],
        classes=model.tasks,
        multilabel=model.multilabel,
    )


def check_new(path: Path, remedy: str) -> None:
    """Refuse to write where something is already, or where nothing can be.

    Raises:
        ValueError: there is such a file, or the folder around it does not exist; the line ends in ``remedy``.
    """
    if path.exists():
        raise ValueError(f"--output {path} is there already; {remedy}")
    if not path.parent.is_dir():
        raise ValueError(f"--output {path}: there is no folder {path.parent}; make it or name another")


def csv_line(cells: Sequence[Any]) -> str:
    """One line of a CSV file, its end included; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


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
