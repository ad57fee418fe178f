"""Of what kind each task is: one class per clip or several, and no numbers to predict.

A column is multi-label as soon as one of its cells holds several names, ``a|b``; a lone ``|`` is none of the
classes, a blank cell is no label at all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unfreeze.data.formats import Names, Row
from unfreeze.options import nearest
from unfreeze.wording import and_more

_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Fewer different numbers are taken for class ids, however few clips there are.
_MANY_IDS = 5
# Fewer different texts are taken for class names, even if every clip has its own.
_MANY_NAMES = 10
# A class of so few clips may be a slip for one that has so many times as many.
_FEW, _OFTEN = 2, 5


def names_of(label: Names) -> tuple[str, ...]:
    """The class names of a label: one, several or none."""
    if label is None:
        return ()
    return label if isinstance(label, tuple) else (label,)


def with_kinds(
    path: Path,
    rows: Sequence[Row],
    tasks: Sequence[str],
    notes: list[str],
    known: Collection[str] | None = None,
) -> tuple[list[Row], frozenset[str]]:
    """The rows with the labels of multi-label tasks as tuples, and the names of these tasks.

    Args:
        known: the multi-label tasks of a trained model, whose kind rules.

    Raises:
        ValueError: a clip has several classes where the model tells one.
    """
    first = {task: next((row for row in rows if _is_several(row.labels[task])), None) for task in tasks}
    if known is None:
        several = frozenset(task for task, row in first.items() if row is not None)
        notes += [
            f"{path}, column {task!r}: clips can have several classes, as at {row.where}, or with a lone '|' "
            f"none: a multi-label task"
            for task, row in first.items()
            if row is not None
        ]
    else:
        several = frozenset(task for task in tasks if task in known)
        for task in tasks:
            if (row := first[task]) is not None and task not in several:
                raise ValueError(
                    f"{row.where}, column {task!r}: several classes ({_written(row.labels[task])}), but the "
                    f"model tells one for each clip; keep one of them, or blank the cell"
                )
    if not several:
        return list(rows), several
    split = [
        replace(row, labels={t: _split(label) if t in several else label for t, label in row.labels.items()})
        for row in rows
    ]
    return split, several


def _is_several(label: Names) -> bool:
    return isinstance(label, tuple) or (label is not None and "|" in label)


def _split(label: Names) -> tuple[str, ...] | None:
    if label is None:
        return None
    parts = label.split("|") if isinstance(label, str) else label
    return tuple(dict.fromkeys(name for part in parts if (name := part.strip())))


def _written(label: Names) -> str:
    return "|".join(label) if isinstance(label, tuple) else str(label)


def check_names(path: Path, rows: Sequence[Row], multilabel: Collection[str]) -> None:
    """Refuse columns that are measured or unique values and no classes.

    Raises:
        ValueError: numbers with decimals; whole numbers of which few repeat; texts of which hardly any does.
    """
    tasks = [task for task in rows[0].labels if task not in multilabel]
    wrong = {task: why for task in tasks if (why := _no_classes(rows, task))}
    for task, why in wrong.items():
        others = [other for other in rows[0].labels if other not in wrong]
        remedy = (
            f"choose the columns of classes: --tasks {' '.join(others)}" if others else "name the classes"
        )
        raise ValueError(f"{path}, column {task!r}: {why}; {remedy}")


def _no_classes(rows: Sequence[Row], task: str) -> str:
    """Why the labels of ``task`` are no class names, or the empty string."""
    labels = [name for row in rows for name in names_of(row.labels[task])]
    distinct = list(dict.fromkeys(labels))
    if all(map(_NUMBER.fullmatch, distinct)):
        for row in rows:
            label = row.labels[task]
            if isinstance(label, str) and not _WHOLE.fullmatch(label):
                return (
                    f"numbers such as {label} ({row.where}) are to be measured and not told apart, and "
                    f"regression is not supported"
                )
        singles = sum(count == 1 for count in Counter(labels).values())
        if len(distinct) >= _MANY_IDS and 2 * len(distinct) > len(labels) and 2 * singles >= len(distinct):
            return (
                f"{len(distinct)} different numbers in {len(labels)} rows ({', '.join(distinct[:3])} …) are "
                f"no classes, and regression is not supported"
            )
    elif len(distinct) >= _MANY_NAMES and len(distinct) > 0.8 * len(labels):
        return (
            f"{len(distinct)} different labels in {len(labels)} rows ({distinct[0]!r}, {distinct[1]!r} …) "
            f"are no classes to learn"
        )
    return ""


def classes_with_few_clips(rows: Sequence[Row], *, columns: bool = True) -> list[str]:
    """A line for each class that seems a slip for a frequent one, and one for those with a single clip.

    Args:
        columns: whether labels are cells of a column, which can be blanked.
    """
    what, remedy = ("column", "blank the label") if columns else ("task", "leave it out")
    lines: list[str] = []
    for task in rows[0].labels:
        where: dict[str, list[str]] = {}
        for row in rows:
            for name in names_of(row.labels[task]):
                where.setdefault(name, []).append(row.where)
        slips = _slips({name: len(places) for name, places in where.items()})
        for name, meant in slips.items():
            lines.append(
                f"{where[name][0]}, {what} {task!r}: {name!r} has {_clips(len(where[name]))} and {meant!r} "
                f"has {len(where[meant])}; did you mean {meant!r}?"
            )
        single = [name for name in where if len(where[name]) == 1 and name not in slips]
        if single:
            first = (
                f"{where[single[0]][0]}, {what} {task!r}: the class {single[0]!r} has this one clip, too few "
                f"to learn and to validate; add clips, or {remedy}{_meant(single[0], where)}"
            )
            lines.append(and_more(first, single))
    return lines


def _meant(name: str, known: Iterable[str]) -> str:
    """A hint at a class of another name; names that differ in their numbers are no slips."""
    letters = re.sub(r"[0-9]+", "", name)
    return nearest(name, [other for other in known if re.sub(r"[0-9]+", "", other) != letters])


def _clips(count: int) -> str:
    return f"{count} clip{'s' * (count != 1)}"


def _slips(counts: Mapping[str, int]) -> dict[str, str]:
    """The classes that seem slips for another, and that other: it has more clips, or is named first."""
    slips: dict[str, str] = {}
    frequent: dict[str, str] = {}
    for name in sorted(counts, key=lambda name: -counts[name]):
        meant = frequent.setdefault(_plain(name) or name, name)
        if meant != name:
            slips[name] = meant
        elif counts[name] <= _FEW:
            often = (other for other in counts if counts[other] >= _OFTEN * counts[name])
            meant = next((other for other in often if _one_slip(name, other)), "")
            if meant:
                slips[name] = meant
    return slips


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _one_slip(a: str, b: str) -> bool:
    """Whether one letter more, less or different, or two neighbours swapped, make ``b`` of ``a``.

    Numbers do not count: ``take1`` and ``take2`` are two names. So are short ones, ``up`` and ``us``.
    """
    if len(a) > len(b):
        a, b = b, a
    if len(a) < 4 or len(b) > len(a) + 1 or re.sub(r"[0-9]+", "", a) == re.sub(r"[0-9]+", "", b):
        return False
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    rest_a, rest_b = a[start:], b[start:]
    if len(a) < len(b):
        return rest_a == rest_b[1:]
    return rest_a[1:] == rest_b[1:] or (rest_a[2:] == rest_b[2:] and rest_a[:2] == rest_b[1::-1])
