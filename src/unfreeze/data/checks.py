"""What data must satisfy, whatever format it came from: each check raises one line about the first culprit.

The line names file, row, column, culprit and remedy, and counts further ones. What the user should know and
can live with is appended to ``notes`` instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unfreeze.data.formats import Row, Table
from unfreeze.data.manifest import SPLITS
from unfreeze.data.splits import split_named
from unfreeze.options import nearest

_SPLIT_NAMES = f"{', '.join(SPLITS[:-1])} or {SPLITS[-1]}"


def labelled(path: Path, table: Table, notes: list[str]) -> list[Row]:
    """The rows that have a label; a task without any is refused."""
    for task in table.tasks:
        if not any(row.labels[task] for row in table.rows):
            raise ValueError(f"{path}, column {task!r}: every cell is blank; choose others with --tasks")
    rows = [row for row in table.rows if any(row.labels.values())]
    if blank := [row.where for row in table.rows if not any(row.labels.values())]:
        notes.append(_more(f"{blank[0]}: no label for any task, left aside", blank))
    return rows


def files_exist(rows: Sequence[Row]) -> None:
    """Every path is a file; none is opened."""
    problems = []
    for row in rows:
        if row.path.is_dir():
            problems.append(f"{row.where}, column 'path': {row.path} is a folder; name a video file")
        elif not row.path.is_file():
            problems.append(
                f"{row.where}, column 'path': there is no file {row.path}{nearest_file(row.path)}; "
                f"paths are relative to the folder of the data file"
            )
    _refuse(problems)


def with_splits(rows: Sequence[Row]) -> list[Row]:
    """The rows with the known name of their split, or without any where no row has one."""
    if all(row.split is None for row in rows):
        return list(rows)
    problems = []
    for row in rows:
        if row.split is None:
            problems.append(
                f"{row.where}, column 'split': blank; write {_SPLIT_NAMES}, or leave out the column"
            )
        elif split_named(row.split) is None:
            hint = nearest(row.split.lower(), SPLITS)
            problems.append(
                f"{row.where}, column 'split': unknown split {row.split!r}{hint}; write {_SPLIT_NAMES}"
            )
    _refuse(problems)
    return [replace(row, split=split_named(row.split or "")) for row in rows]


def no_clip_twice(rows: Sequence[Row], notes: list[str]) -> None:
    """No file is in two splits or has two labels; one that is merely listed twice is noted."""
    first: dict[Path, Row] = {}
    leaks, conflicts, twice = [], [], []
    for row in rows:
        other = first.setdefault(row.path.resolve(), row)
        if other is row:
            continue
        if other.split != row.split:
            leaks.append(
                f"{row.where}: {row.path} is in {row.split}, but {other.where} has it in {other.split}; "
                f"keep it in one split"
            )
        elif other.labels != row.labels:
            conflicts.append(f"{row.where}: {row.path} has other labels at {other.where}; keep the right row")
        twice.append(f"{row.where}: {row.path} is listed a second time (first at {other.where})")
    _refuse(leaks)
    _refuse(conflicts)
    if twice:
        notes.append(_more(twice[0], twice))


def classes_to_tell_apart(path: Path, names: Mapping[str, Sequence[str]]) -> None:
    """Every task has two classes at least."""
    for task, classes in names.items():
        if len(classes) < 2:
            raise ValueError(
                f"{path}, task {task!r}: all labels are {classes[0]!r}, and there is nothing to tell apart; "
                f"add a second class, or choose other tasks with --tasks"
            )


def classes_known(rows: Sequence[Row], names: Mapping[str, Sequence[str]]) -> None:
    """Every label is one that a trained model knows."""
    problems = [
        f"{row.where}, column {task!r}: the model has no class {label!r}{nearest(label, names[task])} "
        f"(it has {', '.join(names[task])}); rename or blank the cell"
        for row in rows
        for task, label in row.labels.items()
        if label is not None and label not in names[task]
    ]
    _refuse(problems)


def groups_apart(rows: Sequence[Row], notes: list[str]) -> None:
    """Note the groups that the user's own splits tear apart."""
    first: dict[str, Row] = {}
    shared = []
    for row in rows:
        if row.group is not None and first.setdefault(row.group, row).split != row.split:
            other = first[row.group]
            shared.append(
                f"{row.where}: group {row.group!r} is in {row.split}, and in {other.split} at {other.where}: "
                f"what is measured on {row.split if other.split == 'train' else other.split} will flatter"
            )
    if shared:
        notes.append(_more(shared[0], shared))


def splits_fit(path: Path, rows: Sequence[Row]) -> None:
    """There is something to train and to validate on, and nothing to validate on that was never trained."""
    there = [split for split in SPLITS if any(row.split == split for row in rows)]
    for split in ("train", "val"):
        if split not in there:
            raise ValueError(
                f"{path} has no clips in the split {split!r} (there are: {', '.join(there)}); add some, or "
                f"name no splits at all, and a share is taken to validate on"
            )
    problems = []
    for task in rows[0].labels:
        trained = labels_of(rows, task, "train")
        seen: set[str] = set()
        for row in rows:
            label = row.labels[task]
            if label is not None and label not in trained and label not in seen:
                seen.add(label)
                problems.append(
                    f"{row.where}, task {task!r}: the class {label!r} is in {row.split} but never in "
                    f"train{nearest(label, sorted(trained))}; move clips of it to train, or leave it out"
                )
        if not labels_of(rows, task, "val"):
            problems.append(f"{path}, task {task!r}: no clip in val has a label; label some or drop the task")
    _refuse(problems)


def labels_of(rows: Sequence[Row], task: str, split: str | None = None) -> set[str]:
    """The class names of ``task`` in one split, or in all."""
    found = (row.labels[task] for row in rows if split is None or row.split == split)
    return {label for label in found if label is not None}


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ValueError(_more(problems[0], problems))


def _more(first: str, all_of_them: Sequence[str]) -> str:
    rest = len(all_of_them) - 1
    return f"{first} (and {rest} more like it)" if rest else first


def nearest_file(path: Path) -> str:
    """A hint at a name that is there; the first folder on the way that is not; or nothing."""
    missing = path
    while not missing.parent.exists() and missing.parent != missing:
        missing = missing.parent
    names = sorted(p.name for p in missing.parent.iterdir()) if missing.parent.is_dir() else []
    where = "" if missing == path else f" (there is no {missing})"
    return f"{where}{nearest(missing.name, names)}"
