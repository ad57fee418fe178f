"""What data must satisfy, whatever format it came from: each check raises one line about the first culprit.

The line names file, row, column, culprit and remedy, and counts further ones. What the user should know and
can live with is appended to ``notes`` instead.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unfreeze.data.formats import Row, Table
from unfreeze.data.kinds import names_of
from unfreeze.data.manifest import SPLITS
from unfreeze.data.splits import split_named
from unfreeze.options import nearest
from unfreeze.wording import and_more

_SPLIT_NAMES = f"{', '.join(SPLITS[:-1])} or {SPLITS[-1]}"


def labelled(path: Path, table: Table, notes: list[str]) -> list[Row]:
    """The rows that have a label; a task without any is refused."""
    for task in table.tasks:
        if all(row.labels[task] is None for row in table.rows):
            raise ValueError(f"{path}, column {task!r}: every cell is blank; choose others with --tasks")
    rows, blank = [], []
    for row in table.rows:
        if any(label is not None for label in row.labels.values()):
            rows.append(row)
        else:
            blank.append(row.where)
    if blank:
        notes.append(and_more(f"{blank[0]}: no label for any task, left aside", blank))
    return rows


def files_exist(path: Path, rows: Sequence[Row], column: str | None, notes: list[str]) -> None:
    """Every view is a file; none is opened. What lies outside of the data's folder is noted.

    Args:
        column: the one that names the files; None where there are no columns.
    """
    root = (path if path.is_dir() else path.parent).absolute()
    problems, outside = [], []
    for row in rows:
        for view, where in row.located_views():
            place = f"{where}, column {column!r}" if column else where
            inside = _inside(view.path, root)
            if view.path.is_dir():
                problems.append(f"{place}: {view.path} is a folder; name a video file")
            elif not view.path.is_file():
                problems.append(f"{place}: there is no file {view.path}{_remedy(view.path, inside)}")
            elif not inside:
                outside.append(
                    f"{place}: {view.path} lies outside of the folder of the data, and is used from there; "
                    f"move it in if the two are ever to be copied together"
                )
    _refuse(problems)
    if outside:
        notes.append(and_more(outside[0], outside))


def _inside(path: Path, root: Path) -> bool:
    """Without following links: a link in the folder belongs to it, wherever it leads."""
    absolute = path.absolute()
    if ".." not in absolute.parts:
        return absolute.is_relative_to(root)
    return absolute.parent.resolve().is_relative_to(root.resolve())


def _remedy(path: Path, inside: bool) -> str:
    slashes = Path(str(path).replace("\\", "/"))
    if slashes.is_file():
        return f"; write it with slashes: {slashes}"
    if inside:
        remedy = "paths are relative to the folder of the data file"
    else:
        remedy = "if the data was moved, write paths relative to the folder of the data file"
    where, hint = _missing(path)
    return f"{where}; {remedy}{hint}"


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
                f"{row.where}, column 'split': unknown split {row.split!r}; write {_SPLIT_NAMES}{hint}"
            )
    _refuse(problems)
    return [replace(row, split=split_named(row.split or "")) for row in rows]


def no_clip_twice(rows: Sequence[Row], notes: list[str]) -> None:
    """No moment of a file is in two splits, and no stretch of a file has two labels.

    Stretches that do not overlap are clips of their own; in two splits they are noted, as is a stretch that
    is merely listed twice.
    """
    by_file: dict[Path, list[_Look]] = {}
    for look in _looks(rows):
        by_file.setdefault(look.file, []).append(look)
    leaks, conflicts, twice, torn = [], [], [], []
    for looks in by_file.values():
        if len(looks) == 1:
            continue
        if pair := _moment_in_two_splits(looks):
            leaks.append(pair)
        elif away := [look for look in looks if look.row.split != looks[0].row.split]:
            torn.append((looks[0], away[0]))
        first: dict[tuple[float, float, str | None], _Look] = {}
        for look in looks:
            other = first.setdefault((look.start, look.end, look.row.split), look)
            if other is not look:
                twice.append((other, look))
                if other.row.labels != look.row.labels:
                    conflicts.append((other, look))
    _refuse(
        [
            f"{look.where}: {look.path} is in {look.row.split}, but {other.where} has it in "
            f"{other.row.split}; keep it in one split"
            for other, look in _as_listed(leaks)
        ]
    )
    _refuse(
        [
            f"{look.where}: {look.path} has other labels at {other.where}; keep the right row"
            for other, look in _as_listed(conflicts)
        ]
    )
    for other, look in _as_listed(twice)[:1]:
        notes.append(
            and_more(f"{look.where}: {look.path} is listed a second time (first at {other.where})", twice)
        )
    for other, look in _as_listed(torn)[:1]:
        notes.append(
            and_more(
                f"{look.where}: {look.path} is in {look.row.split}, and another stretch of it in "
                f"{other.row.split} at {other.where}: {_flattered(look.row, other.row)}",
                torn,
            )
        )


@dataclass(frozen=True, eq=False)
class _Look:
    """A stretch of a file, and where it is named; ``number`` counts them in that order."""

    number: int
    path: Path
    file: Path
    start: float
    end: float
    where: str
    row: Row


def _looks(rows: Sequence[Row]) -> list[_Look]:
    looks: list[_Look] = []
    problems = []
    for row in rows:
        own: set[tuple[Path, float, float]] = set()
        for view, where in row.located_views():
            stretch = view.path.resolve(), view.start or 0.0, math.inf if view.end is None else view.end
            if stretch in own:
                problems.append(f"{where}: {view.path} is there twice as a view of one event; remove one")
            own.add(stretch)
            looks.append(_Look(len(looks), view.path, *stretch, where, row))
    _refuse(problems)
    return looks


def _as_listed(pairs: Sequence[tuple[_Look, _Look]]) -> list[tuple[_Look, _Look]]:
    return sorted(pairs, key=lambda pair: pair[1].number)


def _moment_in_two_splits(looks: Sequence[_Look]) -> tuple[_Look, _Look] | None:
    """Two stretches of a file in two splits that share a moment, in the order in which they are named."""
    furthest: dict[str | None, _Look] = {}  # of each split, of the stretches that start before
    for look in sorted(looks, key=lambda look: look.start):
        for split, other in furthest.items():
            if split != look.row.split and look.start < other.end:
                return (look, other) if look.number < other.number else (other, look)
        before = furthest.get(look.row.split)
        if before is None or look.end > before.end:
            furthest[look.row.split] = look
    return None


def classes_to_tell_apart(
    path: Path, names: Mapping[str, Sequence[str]], multilabel: Collection[str]
) -> None:
    """Every task has two classes at least; one is enough where a clip may be without."""
    for task, classes in names.items():
        if task in multilabel:
            if not classes:
                raise ValueError(f"{path}, task {task!r}: no clip has any class; choose others with --tasks")
        elif len(classes) < 2:
            raise ValueError(
                f"{path}, task {task!r}: all labels are {classes[0]!r}, and there is nothing to tell apart; "
                f"add a second class, or choose other tasks with --tasks"
            )


def classes_known(rows: Sequence[Row], names: Mapping[str, Sequence[str]]) -> None:
    """Every label is one that a trained model knows."""
    known = {task: frozenset(classes) for task, classes in names.items()}
    problems = [
        f"{row.where}, column {task!r}: the model has no class {name!r} (it has "
        f"{', '.join(names[task])}); rename or blank the cell{nearest(name, names[task])}"
        for row in rows
        for task, label in row.labels.items()
        for name in names_of(label)
        if name not in known[task]
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
                f"{_flattered(row, other)}"
            )
    if shared:
        notes.append(and_more(shared[0], shared))


def _flattered(row: Row, other: Row) -> str:
    return f"what is measured on {row.split if other.split == 'train' else other.split} will flatter"


def splits_fit(path: Path, rows: Sequence[Row], notes: list[str], *, folds: bool = False) -> None:
    """There is something to train and to validate on, and nothing to validate on that was never trained.

    Args:
        folds: val is a fold, which has a class of a single group all to itself sooner or later: it is noted.
    """
    there = [split for split in SPLITS if any(row.split == split for row in rows)]
    for split in ("train", "val"):
        if split not in there:
            raise ValueError(
                f"{path} has no clips in the split {split!r} (there are: {', '.join(there)}); add some, or "
                f"name no splits at all, and a share is taken to validate on"
            )
    untrained, problems = [], []
    for task in rows[0].labels:
        trained = labels_of(rows, task, "train")
        seen: set[str] = set()
        for row in rows:
            for name in names_of(row.labels[task]):
                if name not in trained and name not in seen:
                    seen.add(name)
                    untrained.append(
                        f"{row.where}, task {task!r}: the class {name!r} is in {row.split} but never in "
                        f"train; move clips of it to train, or leave it out{nearest(name, sorted(trained))}"
                    )
        if not any(row.labels[task] is not None for row in rows if row.split == "val"):
            problems.append(f"{path}, task {task!r}: no clip in val has a label; label some or drop the task")
    if folds and untrained:
        notes.append(and_more(untrained[0], untrained))
        untrained = []
    _refuse([*untrained, *problems])


def labels_of(rows: Sequence[Row], task: str, split: str | None = None) -> set[str]:
    """The class names of ``task`` in one split, or in all."""
    return {
        name for row in rows if split is None or row.split == split for name in names_of(row.labels[task])
    }


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ValueError(and_more(problems[0], problems))


def nearest_file(path: Path) -> str:
    """The first folder on the way that is not there, and a hint at a name that is; or nothing."""
    return "".join(_missing(path))


def _missing(path: Path) -> tuple[str, str]:
    missing = path
    while not missing.parent.exists() and missing.parent != missing:
        missing = missing.parent
    names = sorted(p.name for p in missing.parent.iterdir()) if missing.parent.is_dir() else []
    where = "" if missing == path else f" (there is no folder {missing})"
    return where, nearest(missing.name, names)
