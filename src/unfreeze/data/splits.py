"""Split names, and automatic splits: seeded, stratified, no group on both sides.

There are two, a share for validation and folds. Both follow the greedy iterative stratification of Sechidis,
Tsoumakas and Vlahavas, "On the Stratification of Multi-label Data", ECML PKDD 2011: the rarest label first,
each unit to the side that still lacks most of it. Here a unit is a group of clips, and its labels are all
(task, class) pairs in it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

Label = tuple[str, str]

_ALIASES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_BY_NAME = {alias: split for split, aliases in _ALIASES.items() for alias in aliases}


def split_named(name: str) -> str | None:
    """``train``, ``val`` or ``test`` for what users call them (``Validation``); None for any other word."""
    return _BY_NAME.get(name.lower())


def choose_val(groups: Mapping[str, Counter[Label]], *, fraction: float, seed: int) -> frozenset[str]:
    """The groups that make up the validation split.

    Every label is left in train at least once, and is in val at least once where two groups have it and other
    labels do not forbid it; beyond that, val holds about ``fraction`` of the clips of each label.

    Args:
        groups: group -> clips per label; the order does not matter.
        fraction: the share of clips to validate on, between 0 and 1.
        seed: the same seed and groups give the same choice.
    """
    order = _order(groups, seed)
    members = _members(groups, order)
    clips = {label: sum(groups[group][label] for group in members[label]) for label in members}
    in_val = {label: max(1.0, fraction * n) if len(members[label]) > 1 else 0.0 for label, n in clips.items()}
    lacking = {
        "val": in_val,
        "train": {label: n - in_val[label] for label, n in clips.items()},
    }
    waiting = {label: len(members[label]) for label in members}  # groups not yet on a side
    has: dict[str, set[Label]] = {"train": set(), "val": set()}
    side: dict[str, str] = {}

    def place(group: str, label: Label) -> str:
        last = [other for other in groups[group] if waiting[other] == 1]
        if any(other not in has["train"] for other in last):
            return "train"
        if any(other not in has["val"] for other in last):
            return "val"
        need = {name: (lacking[name][label], sum(lacking[name].values())) for name in lacking}
        return "val" if need["val"] > need["train"] else "train"

    while open_labels := [label for label in members if waiting[label]]:
        rarest = min(open_labels, key=lambda label: (waiting[label], label))
        for group in members[rarest]:
            if group in side:
                continue
            side[group] = name = place(group, rarest)
            has[name].update(groups[group])
            for label, count in groups[group].items():
                lacking[name][label] -= count
                waiting[label] -= 1
    return frozenset(group for group, name in side.items() if name == "val")


def choose_folds(groups: Mapping[str, Counter[Label]], *, folds: int, seed: int) -> dict[str, int]:
    """The fold of each group, from 1.

    No fold is empty. A label that two groups have is in two folds at least, and so always trained, where
    other labels do not forbid it; beyond that, every fold has about the same number of clips of each label.

    Args:
        groups: group -> clips per label; the order does not matter. At least ``folds`` of them.
        seed: the same seed and groups give the same folds.
    """
    assert len(groups) >= folds, "fewer groups than folds"
    order = _order(groups, seed)
    members = _members(groups, order)
    lacking = [
        {label: sum(groups[group][label] for group in members[label]) / folds for label in members}
        for _ in range(folds)
    ]
    waiting = {label: len(members[label]) for label in members}
    within: dict[Label, set[int]] = {label: set() for label in members}  # folds that have the label
    chosen: dict[str, int] = {}

    def place(group: str, label: Label | None) -> int:
        empty = sorted(set(range(folds)) - set(chosen.values()))
        if len(groups) - len(chosen) <= len(empty):
            return empty[0]
        last = [within[other] for other in groups[group] if waiting[other] == 1]
        allowed = [fold for fold in range(folds) if {fold} not in last] or list(range(folds))
        return max(
            allowed, key=lambda fold: (lacking[fold][label] if label else 0.0, sum(lacking[fold].values()))
        )

    def settle(group: str, label: Label | None) -> None:
        chosen[group] = fold = place(group, label)
        for other, count in groups[group].items():
            lacking[fold][other] -= count
            waiting[other] -= 1
            within[other].add(fold)

    while open_labels := [label for label in members if waiting[label]]:
        rarest = min(open_labels, key=lambda label: (waiting[label], label))
        for group in members[rarest]:
            if group not in chosen:
                settle(group, rarest)
    for group in order:  # those without any label
        if group not in chosen:
            settle(group, None)
    return {group: fold + 1 for group, fold in chosen.items()}


def _order(groups: Mapping[str, Counter[Label]], seed: int) -> list[str]:
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    # Large groups first: what is left to balance with at the end is small.
    order.sort(key=lambda group: -groups[group].total())
    return order


def _members(groups: Mapping[str, Counter[Label]], order: list[str]) -> dict[Label, list[str]]:
    """The groups that have each label, in ``order``."""
    members: dict[Label, list[str]] = {}
    for group in order:
        for label in groups[group]:
            members.setdefault(label, []).append(group)
    return members
