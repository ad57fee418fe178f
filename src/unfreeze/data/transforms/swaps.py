"""What a mirrored clip is called: classes that trade places, and names that sound as if they should."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from unfreeze.data.manifest import Label
from unfreeze.options import nearest

# Task -> class index -> class index in a mirrored clip; what a mirror does not change is not in it.
Swaps = Mapping[str, Mapping[int, int]]

_MOST_LISTED = 12


def check_swaps(flip_swap: Mapping[str, Any] | None, classes: Mapping[str, Sequence[str]]) -> Swaps:
    """A swap table by class names, ``{motion: {left: right}}``, as indices and in both directions.

    Args:
        flip_swap: task -> name -> name; each pair may be written in one direction or in both.
        classes: task -> class names.

    Raises:
        ValueError: an unknown task or class (with the nearest one), a class in two pairs or in a pair with
            itself, or no such table at all.
    """
    if flip_swap is None:
        return {}
    if not isinstance(flip_swap, Mapping):
        raise ValueError(
            f"--flip_swap takes pairs of classes per task, {{motion: {{left: right}}}}, not {flip_swap!r}"
        )
    swaps = {}
    for task, pairs in flip_swap.items():
        if task not in classes:
            hint = nearest(str(task), list(classes))
            raise ValueError(f"--flip_swap: there is no task {task!r}{hint} (tasks: {', '.join(classes)})")
        if not isinstance(pairs, Mapping):
            raise ValueError(
                f"--flip_swap: task {task!r} takes pairs of classes, {{left: right}}, not {pairs!r}"
            )
        swaps[task] = _both_ways(pairs, classes[task], f"--flip_swap: task {task!r}")
    return swaps


def _both_ways(pairs: Mapping[Any, Any], names: Sequence[str], where: str) -> dict[int, int]:
    swap: dict[int, int] = {}
    for pair in pairs.items():
        a, b = (_index(name, names, where) for name in pair)
        if a == b:
            raise ValueError(f"{where} swaps {names[a]!r} with itself; a class that stays needs no mention")
        for one, other in ((a, b), (b, a)):
            if swap.setdefault(one, other) != other:
                raise ValueError(
                    f"{where} swaps {names[one]!r} with {names[swap[one]]!r} and with {names[other]!r}; "
                    "name it in one pair only"
                )
    return swap


def _index(name: object, names: Sequence[str], where: str) -> int:
    name = str(name)  # a class called 90 is a number to YAML
    if name not in names:
        raise ValueError(f"{where} has no class {name!r}{nearest(name, names)}{_listed(names)}")
    return list(names).index(name)


def _listed(names: Sequence[str]) -> str:
    return f" (classes: {', '.join(names[:_MOST_LISTED])}{', …' if len(names) > _MOST_LISTED else ''})"


def swap_labels(labels: Mapping[str, Label | None], swaps: Swaps) -> dict[str, Label | None]:
    """The labels of the mirrored clip, by task; a task without swaps keeps its own."""
    return {task: transform_label(label, swaps.get(task, {})) for task, label in labels.items()}


def transform_label(label: Label | None, swap: Mapping[int, int]) -> Label | None:
    """One label of the mirrored clip: an index, or several in ascending order; None stays masked."""
    if label is None:
        return None
    if isinstance(label, tuple):
        return tuple(sorted(swap.get(index, index) for index in label))
    return swap.get(label, label)


def direction_like(names: Sequence[str]) -> list[tuple[str, str | None]]:
    """Class names of one task that seem to tell left from right or the sense of a rotation.

    Returns:
        pairs that a mirror exchanges (``turn left``, ``turn right``), each once, and ``(name, None)`` for a
        class that names a direction and has no counterpart.
    """
    words = {name: _words(name) for name in names}
    by_words = {of_name: name for name, of_name in words.items()}
    found: dict[str, str | None] = {}
    for name, of_name in words.items():
        counterpart = by_words.get(tuple(_MIRRORED.get(word, word) for word in of_name))
        if counterpart == name or counterpart in found:
            continue
        if counterpart is not None or not _SURE.isdisjoint(of_name):
            found[name] = counterpart
    return list(found.items())


_MIRRORED = {
    "left": "right",
    "lefthand": "righthand",
    "lefthanded": "righthanded",
    "leftward": "rightward",
    "leftwards": "rightwards",
    "clockwise": "counterclockwise",
    "cw": "ccw",
    "l": "r",
}
_MIRRORED |= {b: a for a, b in _MIRRORED.items()}
# words that mean a direction even where no class says the opposite
_SURE = frozenset(_MIRRORED) - {"cw", "ccw", "l", "r"}


def _words(name: str) -> tuple[str, ...]:
    """``turnLeft`` and ``Turn_left`` are both (turn, left)."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    spaced = re.sub(r"\b_*(counter|anti)[\s_-]*clockwise", " counterclockwise", spaced.replace("_", " "))
    return tuple(re.findall(r"[^\W_]+", spaced))
