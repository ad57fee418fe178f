"""Which clips to validate on, where the user does not say: a share of them, or one fold of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unfreeze.data.formats import Row
from unfreeze.data.kinds import names_of
from unfreeze.data.manifest import class_order
from unfreeze.data.splits import Label, choose_folds, choose_val


def check_folds(folds: int | None, fold: int | None) -> None:
    """Both or neither, and a fold that there is.

    Raises:
        ValueError: the message names the flag.
    """
    if folds is None and fold is None:
        return
    if folds is None:
        raise ValueError(
            f"--fold {fold} says nothing without --folds; add --folds with their number, such as 5"
        )
    if folds < 2:
        raise ValueError(f"--folds must be at least 2, not {folds}")
    if fold is None:
        raise ValueError(
            f"--folds {folds} needs --fold, the one (1 to {folds}) to validate on; run each in turn"
        )
    if not 1 <= fold <= folds:
        raise ValueError(f"--fold {fold} is none of the {folds} folds; choose one from 1 to {folds}")


def hold_out(
    path: Path, rows: Sequence[Row], fraction: float, seed: int, notes: list[str], *, needed: bool = True
) -> list[Row]:
    """The rows with a share of them in val, taken of train where they name that; test stays.

    Args:
        needed: without anything in val the data is of no use.

    Raises:
        ValueError: there is too little to take some of it away, and it is needed.
    """
    pool = [row for row in rows if row.split != "test"]
    units = units_of(path, pool)
    val = choose_val(_labels_by_unit(pool, units), fraction=fraction, seed=seed)
    grouped = any(row.group is not None for row in pool)
    if not val and needed:
        files = {view.path for row in pool for view in row.views}
        what = "group" if grouped else "file" if len(files) < len(pool) else "clip"
        raise ValueError(f"{path}: no class has a second {what} to validate on; add clips")
    sides = iter(["val" if unit in val else "train" for unit in units])
    split = [row if row.split == "test" else replace(row, split=next(sides)) for row in rows]
    count = Counter(row.split for row in split)
    lacking = "val split" if any(row.split for row in rows) else "splits"
    notes.append(
        f"{path} names no {lacking}: {count['train']} clips to train and {count['val']} to validate on, "
        f"chosen by class{_kept_together(pool)} with seed {seed}"
    )
    for task in rows[0].labels:
        missing = class_order(_names(split, task, "train") - _names(split, task, "val"))
        if missing:
            few = "groups" if grouped else "clips"
            which = ", ".join(repr(name) for name in missing)
            notes.append(f"task {task!r}: too few {few} to validate {which}, which is in train alone")
    return split


def one_fold(
    path: Path, rows: Sequence[Row], folds: int, fold: int, seed: int, notes: list[str]
) -> list[Row]:
    """The rows with fold ``fold`` in val and the others in train; named train and val are pooled, test stays.

    Raises:
        ValueError: there are more folds than groups of clips.
    """
    pool = [row for row in rows if row.split != "test"]
    units = units_of(path, pool)
    grouped = any(row.group is not None for row in pool)
    if len(set(units)) < folds:
        what = "groups" if grouped else "clips"
        raise ValueError(f"{path}: {folds} folds of {len(set(units))} {what}; choose fewer with --folds")
    by_unit = choose_folds(_labels_by_unit(pool, units), folds=folds, seed=seed)
    if any(row.split for row in pool):
        notes.append(f"{path} names splits: train and val are pooled to make folds, test stays as it is")
    folds_of = iter([by_unit[unit] for unit in units])
    split = [
        row if row.split == "test" else replace(row, split="val" if next(folds_of) == fold else "train")
        for row in rows
    ]
    count = Counter(row.split for row in split)
    notes.append(
        f"{path}, fold {fold} of {folds}: {count['train']} clips to train and {count['val']} to validate on, "
        f"chosen by class{_kept_together(pool)} with seed {seed}"
    )
    return split


def _kept_together(rows: Sequence[Row]) -> str:
    """What is on one side as a whole, for a note: `` and group``, `` and file`` or nothing."""
    if any(row.group is not None for row in rows):
        return " and group"
    views = [view.path for row in rows for view in row.views]
    return " and file" if len(set(views)) < len(views) else ""


def lacks_val(rows: Sequence[Row]) -> bool:
    """Whether clips to validate on are to be taken of the others: none is in val, and not all are in test."""
    splits = {row.split for row in rows}
    return "val" not in splits and splits != {"test"}


def units_of(path: Path, rows: Sequence[Row]) -> list[str]:
    """What must stay on one side, for each row: its group, or its file.

    Rows that share a group or a file, directly or through others, are one unit. It is named after what comes
    first, and alike wherever the data lies.
    """
    root = path if path.is_dir() else path.parent
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    names: list[str] = []
    for row in rows:
        own = [f"group {row.group}"] if row.group is not None else []
        own += [f"file {_relative(view.path, root)}" for view in row.views]
        names.append(own[0])
        for other in own[1:]:
            first, second = sorted(
                (find(own[0]), find(other)), key=lambda name: (not name.startswith("group"), name)
            )
            parent[second] = first
    return [find(name) for name in names]


def _relative(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _labels_by_unit(rows: Sequence[Row], units: Sequence[str]) -> dict[str, Counter[Label]]:
    groups: dict[str, Counter[Label]] = {}
    for row, unit in zip(rows, units, strict=True):
        count = groups.setdefault(unit, Counter())
        for task, label in row.labels.items():
            if label is not None:  # none of the classes is a kind of its own, to be spread like the others
                count.update((task, name) for name in names_of(label) or ("",))
    return groups


def _names(rows: Sequence[Row], task: str, split: str) -> set[str]:
    return {name for row in rows if row.split == split for name in names_of(row.labels[task])}
