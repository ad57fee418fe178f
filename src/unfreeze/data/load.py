"""From what the user names to a checked manifest: read, judge, split.

A format only reads, ``checks`` judges, once for all formats; here is the order of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unfreeze.data import checks, formats, kinds, partition
from unfreeze.data.demo import ensure_demo
from unfreeze.data.formats import Names, Row, Table
from unfreeze.data.manifest import Label, Manifest, Sample, class_order
from unfreeze.options import nearest


def load_manifest(
    source: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    data_format: str = "auto",
    val_fraction: float = 0.2,
    folds: int | None = None,
    fold: int | None = None,
    seed: int = 0,
    classes: Mapping[str, Sequence[str]] | None = None,
    multilabel: Collection[str] | None = None,
    window: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """The data set that ``source`` names.

    Args:
        source: ``demo`` (rendered on first use; a folder of that name is ``./demo``), or the path of anything
            that a module of ``unfreeze.data.formats`` recognises.
        tasks: the tasks to keep; all by default.
        data_format: the name of a format, for a source that looks like another; ``auto`` looks.
        val_fraction: the share of clips to validate on, where the source names no val.
        folds, fold: validate on this fold (from 1) of so many instead; whatever is not in the test split
            takes part, and every clip is validated in exactly one fold.
        seed: of that automatic split.
        classes: task -> class names of a trained model, to evaluate it: they replace the names found, and
            train and val need not fit each other.
        multilabel: those of its tasks that are multi-label, for which it is none by default; without a model,
            the labels tell.
        window: start and end in seconds of what is looked at in each video, but for rows with their own.
        progress: called with (done, total) while the demo is rendered.

    Raises:
        FileNotFoundError: there is no such source.
        ValueError: the data cannot be used; one line names file, row, column, culprit and remedy.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must be above 0 and below 1, not {val_fraction}")
    partition.check_folds(folds, fold)
    if classes is not None:
        tasks = _tasks_of_model(classes, tasks)
        multilabel = multilabel or ()
    chosen = None if data_format == "auto" else formats.get(data_format)
    path = ensure_demo(progress=progress) if str(source) == "demo" else Path(source)
    if not path.exists():
        hint = checks.nearest_file(path) or "; give demo, a folder of classes or a CSV file"
        raise FileNotFoundError(f"there is no data set {path}{hint}")
    if str(source) == "demo":
        chosen = None

    table = (chosen or formats.recognise(path)).read(path, tasks)
    notes, doubts = list(table.notes), list[str]()
    rows = checks.labelled(path, table, notes)
    checks.files_exist(path, rows, table.path_column, notes)
    rows = checks.with_splits(rows)
    rows, several = kinds.with_kinds(path, rows, table.tasks, notes, multilabel)
    checks.no_clip_twice(rows, doubts)
    names = {task: tuple((classes or {}).get(task) or _classes(table, rows, task)) for task in table.tasks}
    if classes is None:
        kinds.check_names(path, rows, several)
        checks.classes_to_tell_apart(path, names, several)
        doubts += kinds.classes_with_few_clips(rows, columns=table.path_column is not None)
    else:
        checks.classes_known(rows, names)
    notes += doubts
    if folds is not None and fold is not None:
        rows = partition.one_fold(path, rows, folds, fold, seed, notes)
    elif partition.lacks_val(rows):
        rows = partition.hold_out(path, rows, val_fraction, seed, notes, needed=classes is None)
    checks.groups_apart(rows, notes)
    if classes is None:
        checks.splits_fit(path, rows, notes, folds=folds is not None)
    index = {task: {name: i for i, name in enumerate(names[task])} for task in names}
    samples = tuple(_sample(row, index, window) for row in rows)
    return Manifest(names, samples, str(source), tuple(notes), several, tuple(doubts))


def _tasks_of_model(classes: Mapping[str, Sequence[str]], tasks: Sequence[str] | None) -> Sequence[str]:
    for task in tasks or ():
        if task not in classes:
            hint = nearest(task, list(classes))
            raise ValueError(f"the model has no task {task!r}{hint} (its tasks: {', '.join(classes)})")
    return tasks or list(classes)


def _classes(table: Table, rows: Sequence[Row], task: str) -> tuple[str, ...]:
    return table.classes.get(task) or class_order(checks.labels_of(rows, task))


def _sample(row: Row, index: Mapping[str, Mapping[str, int]], window: tuple[float, float] | None) -> Sample:
    views = row.views
    if window is not None:
        start, end = window
        views = tuple(
            replace(view, start=start, end=end) if view.start is None and view.end is None else view
            for view in views
        )
    return Sample(
        views=views,
        split=row.split or "",
        labels={task: _encoded(row.labels[task], index[task]) for task in index},
        group=row.group,
        row=row.where,
    )


def _encoded(label: Names, index: Mapping[str, int]) -> Label | None:
    if isinstance(label, tuple):
        return tuple(sorted(index[name] for name in label))
    return None if label is None else index[label]
