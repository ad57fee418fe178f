"""From what the user names to a checked manifest: read, judge, split.

A format only reads, ``checks`` judges, once for all formats; here is the order of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unfreeze.data import checks, formats
from unfreeze.data.demo import ensure_demo
from unfreeze.data.formats import Row
from unfreeze.data.manifest import Manifest, Sample, View, class_order
from unfreeze.data.splits import Label, choose_val
from unfreeze.options import nearest


def load_manifest(
    source: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    classes: Mapping[str, Sequence[str]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """The data set that ``source`` names.

    Args:
        source: ``demo`` (rendered on first use; a folder of that name is ``./demo``), or the path of anything
            that a module of ``unfreeze.data.formats`` recognises.
        tasks: the tasks to keep; all by default.
        val_fraction: the share of clips to validate on, where the source names no splits.
        seed: of that automatic split.
        classes: task -> class names of a trained model, to evaluate it: they replace the names found, and
            train and val need not fit each other.
        progress: called with (done, total) while the demo is rendered.

    Raises:
        FileNotFoundError: there is no such source.
        ValueError: the data cannot be used; one line names file, row, column, culprit and remedy.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must be above 0 and below 1, not {val_fraction}")
    if classes is not None:
        tasks = _tasks_of_model(classes, tasks)
    path = ensure_demo(progress=progress) if str(source) == "demo" else Path(source)
    if not path.exists():
        hint = checks.nearest_file(path) or "; give demo, a folder of classes or a CSV file"
        raise FileNotFoundError(f"there is no data set {path}{hint}")

    table = formats.recognise(path).read(path, tasks)
    notes = list(table.notes)
    rows = checks.labelled(path, table, notes)
    checks.files_exist(rows)
    rows = checks.with_splits(rows)
    checks.no_clip_twice(rows, notes)
    found = {task: class_order(checks.labels_of(rows, task)) for task in table.tasks}
    names = {task: tuple((classes or found)[task]) for task in table.tasks}
    if classes is None:
        checks.classes_to_tell_apart(path, names)
    else:
        checks.classes_known(rows, names)
    if all(row.split is None for row in rows):
        rows = _split(path, rows, val_fraction, seed, notes)
    else:
        checks.groups_apart(rows, notes)
    if classes is None:
        checks.splits_fit(path, rows)
    index = {task: {name: i for i, name in enumerate(names[task])} for task in names}
    samples = tuple(
        Sample(
            views=(View(row.path),),
            split=row.split or "",
            labels={t: None if (name := row.labels[t]) is None else index[t][name] for t in names},
            group=row.group,
            row=row.where,
        )
        for row in rows
    )
    return Manifest(names, samples, str(source), tuple(notes))


def _tasks_of_model(classes: Mapping[str, Sequence[str]], tasks: Sequence[str] | None) -> Sequence[str]:
    for task in tasks or ():
        if task not in classes:
            hint = nearest(task, list(classes))
            raise ValueError(f"the model has no task {task!r}{hint} (its tasks: {', '.join(classes)})")
    return tasks or list(classes)


def _split(path: Path, rows: Sequence[Row], fraction: float, seed: int, notes: list[str]) -> list[Row]:
    root = path if path.is_dir() else path.parent
    units = [_unit(row, root) for row in rows]
    groups: dict[str, Counter[Label]] = {}
    for row, unit in zip(rows, units, strict=True):
        labels = ((task, label) for task, label in row.labels.items() if label is not None)
        groups.setdefault(unit, Counter()).update(labels)
    val = choose_val(groups, fraction=fraction, seed=seed)
    grouped = any(row.group is not None for row in rows)
    if not val:
        what = "group" if grouped else "clip"
        raise ValueError(f"{path}: no class has a second {what} to validate on; add clips")
    sides = ("val" if unit in val else "train" for unit in units)
    split = [replace(row, split=side) for row, side in zip(rows, sides, strict=True)]
    count = Counter(row.split for row in split)
    notes.append(
        f"{path} names no splits: {count['train']} clips to train and {count['val']} to validate on, "
        f"chosen by class {'and group ' if grouped else ''}with seed {seed}"
    )
    for task in rows[0].labels:
        missing = class_order(checks.labels_of(split, task, "train") - checks.labels_of(split, task, "val"))
        if missing:
            few = "groups" if grouped else "clips"
            which = ", ".join(repr(name) for name in missing)
            notes.append(f"task {task!r}: too few {few} to validate {which}, which is in train alone")
    return split


def _unit(row: Row, root: Path) -> str:
    """What must stay on one side: the group, or the file, named alike wherever the data lies."""
    if row.group is not None:
        return f"group {row.group}"
    try:
        return f"file {row.path.relative_to(root).as_posix()}"
    except ValueError:
        return f"file {row.path.as_posix()}"
