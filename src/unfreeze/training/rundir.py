"""The folder of one run: what it was asked, what it measured, and its checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

CONFIG, METRICS, LOG, BEST, LAST, PLOT, CLASSES = (
    "config.yaml",
    "metrics.jsonl",
    "train.log",
    "best.pt",
    "last.pt",
    "run.png",
    "classes.json",
)


class RunDir:
    """The files of a run. Every writing method raises OSError with one line that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.metrics, self.log_file = path / CONFIG, path / METRICS, path / LOG
        self.best, self.last, self.plot = path / BEST, path / LAST, path / PLOT
        self.classes = path / CLASSES

    @classmethod
    def create(cls, output: str, run_dir: str | None, label: str) -> RunDir:
        """A new folder: ``run_dir``, or one in ``output`` named after the time and ``label``.

        Raises:
            ValueError: ``run_dir`` is there already and holds files.
            OSError: the folder cannot be made or written to.
        """
        if run_dir is not None:
            check_unused(run_dir)
        path = Path(run_dir) if run_dir is not None else _unused(Path(output), label)
        with explained(
            f"cannot make the run folder {path}", "choose another place with --output or --run_dir"
        ):
            path.mkdir(parents=True, exist_ok=True)
            (path / LOG).touch()
        return cls(path)

    def write_config(self, flags: Mapping[str, Any]) -> None:
        """``config.yaml``: flag -> value, in an order fit for reading; swapped in whole."""
        _swap_in(self.config, yaml.safe_dump(dict(flags), sort_keys=False, allow_unicode=True))

    def append(self, row: Mapping[str, Any]) -> None:
        """One more epoch in ``metrics.jsonl``."""
        with explained(f"cannot write {self.metrics}"), self.metrics.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """``metrics.jsonl`` with exactly these epochs, swapped in whole."""
        _swap_in(self.metrics, "".join(map(_line, rows)))

    def write_classes(self, report: Mapping[str, Any]) -> None:
        """``classes.json``: the best epoch class by class; swapped in whole."""
        _swap_in(self.classes, json.dumps(report, indent=1, ensure_ascii=False) + "\n")

    def read_classes(self) -> dict[str, Any]:
        """What ``write_classes`` wrote."""
        content: dict[str, Any] = json.loads(self.classes.read_text(encoding="utf-8"))
        return content

    def log(self, lines: Iterable[str]) -> None:
        """More lines in ``train.log``."""
        with explained(f"cannot write {self.log_file}"), self.log_file.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)


def check_unused(run_dir: str) -> None:
    """Raises ValueError where ``run_dir`` is a folder that holds files already."""
    path = Path(run_dir)
    if path.is_dir() and any(path.iterdir()):
        raise ValueError(f"the run folder {path} already holds files; choose another with --run_dir")


def find_run(resume: str, output: str) -> Path:
    """The folder that ``--resume`` means: a path, or ``last``, the run in ``output`` written to last.

    Raises:
        ValueError: there is no run to resume, or the path is something else.
    """
    if resume == "last":
        runs = sorted(Path(output).glob(f"*/{LAST}"), key=lambda file: file.stat().st_mtime_ns)
        if not runs:
            raise ValueError(f"--resume last: there is no run in {output}; check --output or start a new run")
        return runs[-1].parent
    path = Path(resume)
    if path.name == BEST:
        raise ValueError(f"--resume {path}: {BEST} has no optimizer state; give {path.with_name(LAST)}")
    folder = path.parent if path.name == LAST else path
    if not (folder / LAST).is_file():
        what = "holds no last.pt" if folder.is_dir() else "does not exist"
        raise ValueError(f"--resume {path}: {folder} {what}; give last, a run folder, or its last.pt")
    return folder


def _unused(output: Path, label: str) -> Path:
    name = f"{datetime.now():%Y%m%d-%H%M%S}_{label}"
    path, number = output / name, 1
    while path.exists():
        number += 1
        path = output / f"{name}_{number}"
    return path


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _swap_in(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, entirely or not at all; the old file stays until the new one is whole."""
    temporary = path.with_name(f"{path.name}.tmp")
    with explained(f"cannot write {path}"):
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def explained(what: str, remedy: str = "free space or fix the folder's permissions") -> Iterator[None]:
    """One line with the culprit and a remedy around an OSError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise type(error)(f"{what}: {reason}; {remedy}") from error
