"""SoccerNet-MVFoul: ``Train/``, ``Valid/`` and ``Test/``, each with ``annotations.json`` and
``action_<i>/clip_<k>.mp4``. Held et al., "VARS: Video Assistant Referee System for Automated Soccer Decision
Making from Multiple Views", CVPR Workshops 2023.

An event is an action, its views are its clips: the live one and at least one replay. There are two tasks,
``action`` (8 classes) and ``severity`` (4 classes), in the order of the published code, whose filter this is
too. The group of an action is its match. ``Chall`` has no labels and is left aside.

A view is the whole clip: 125 frames at 25 per second, the foul near frame 75. The published weights look at
``FOUL_WINDOW`` of it, for which ``load_manifest`` has ``window``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unfreeze.data.formats.base import Row, Table, check_tasks
from unfreeze.data.manifest import View
from unfreeze.data.splits import split_named
from unfreeze.options import nearest
from unfreeze.wording import and_more

DESCRIPTION = "SoccerNet-MVFoul, a folder with Train/annotations.json and its like"

ACTIONS = (
    "Tackling", "Standing tackling", "High leg", "Holding", "Pushing", "Elbowing", "Challenge", "Dive",
)  # fmt: skip
SEVERITIES = ("No offence", "Offence + No card", "Offence + Yellow card", "Offence + Red card")
CLASSES = {"action": ACTIONS, "severity": SEVERITIES}
# Frames 63 to 87 at 25 per second, in seconds.
FOUL_WINDOW = (63 / 25, 88 / 25)

_FILE = "annotations.json"
_NO_OFFENCE = ("No offence", "No Offence")
_UNSURE_OFFENCE = ("", "Between")
_UNSURE_SEVERITY = ("", "2.0", "4.0")
_CARDS = {"1.0": SEVERITIES[1], "3.0": SEVERITIES[2], "5.0": SEVERITIES[3]}


def recognises(source: Path) -> bool:
    return source.name == _FILE or (source.is_dir() and bool(_files(source)))


def read(source: Path, tasks: Sequence[str] | None) -> Table:
    chosen = check_tasks(source, tasks, list(CLASSES))
    files = _files(source) if source.is_dir() else [source]
    if not files:
        raise ValueError(f"{source} has no {_FILE}, nor have Train, Valid and Test in it; name their folder")
    rows: list[Row] = []
    notes: list[str] = []
    problems: list[str] = []
    for file in files:
        rows += _actions(file, chosen, notes, problems)
    if problems:
        raise ValueError(and_more(problems[0], problems))
    if not rows:
        raise ValueError(f"{source} has no action with labels; {'; '.join(notes)}")
    classes = {task: CLASSES[task] for task in chosen}
    return Table(chosen, tuple(rows), tuple(notes), classes)


def labels_of(action: Mapping[str, Any]) -> tuple[str, str] | str:
    """The classes of ``action`` and ``severity``, or why the published filter drops the action.

    Raises:
        ValueError: the action has a class that nobody knows.
    """
    kind, offence, severity = (str(action.get(key) or "") for key in ("Action class", "Offence", "Severity"))
    if kind in ("", "Dont know"):
        return "no action class"
    if kind not in ACTIONS:
        raise ValueError(f"unknown action class {kind!r}; correct it there{nearest(kind, ACTIONS)}")
    if offence in _UNSURE_OFFENCE and kind != "Dive":
        return "undecided offence"
    if severity in _UNSURE_SEVERITY and kind != "Dive" and offence not in _NO_OFFENCE:
        return "undecided severity"
    if offence in _NO_OFFENCE:
        return kind, SEVERITIES[0]
    offence = "Offence" if offence in _UNSURE_OFFENCE else offence
    severity = "1.0" if severity in _UNSURE_SEVERITY else severity
    if offence != "Offence" or severity not in _CARDS:
        return "unknown offence or severity"
    return kind, _CARDS[severity]


def _files(source: Path) -> list[Path]:
    """The annotation files, those of train first."""
    if (source / _FILE).is_file():
        return [source / _FILE]
    found = [p / _FILE for p in source.iterdir() if _is_split(p.name) and (p / _FILE).is_file()]
    order = ("train", "val", "test", None)
    return sorted(found, key=lambda file: (order.index(split_named(file.parent.name)), file))


def _is_split(name: str) -> bool:
    return split_named(name) is not None or _is_challenge(name)


def _is_challenge(name: str) -> bool:
    return name.lower() in ("chall", "challenge")


def _actions(file: Path, tasks: Sequence[str], notes: list[str], problems: list[str]) -> list[Row]:
    content = _content(file)
    folder = file.parent
    said = folder.name if _is_split(folder.name) else str(content.get("Set") or "")
    actions: Mapping[str, Mapping[str, Any]] = content["Actions"]
    if _is_challenge(said):
        notes.append(f"{file}: the {len(actions)} actions of the challenge have no labels and are left aside")
        return []
    rows = []
    dropped: Counter[str] = Counter()
    for number, action in actions.items():
        where = f"{folder.name}/{_FILE}, action {number}"
        try:
            labels = labels_of(action)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        if isinstance(labels, str):
            dropped[labels] += 1
            continue
        views = _views(folder, number, action, where, problems)
        known = dict(zip(CLASSES, labels, strict=True))
        group = str(action.get("UrlLocal") or "") or None
        rows.append(Row(views, {task: known[task] for task in tasks}, where, split_named(said), group))
    if dropped:
        why = ", ".join(f"{count} with {reason}" for reason, count in dropped.most_common())
        notes.append(f"{file}: {dropped.total()} of {len(actions)} actions left aside: {why}")
    return rows


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no valid JSON ({error}); unpack the data set anew") from None
    actions = content.get("Actions") if isinstance(content, dict) else None
    if not isinstance(actions, dict) or not all(isinstance(action, dict) for action in actions.values()):
        raise ValueError(
            f"{file} has no 'Actions', so it is not SoccerNet-MVFoul's; name another with --data_format"
        )
    return content


def _views(
    folder: Path, number: str, action: Mapping[str, Any], where: str, problems: list[str]
) -> tuple[View, ...]:
    """The clips that the annotations name, which lie in the folder of the action."""
    urls = [str(clip.get("Url") or "").replace("\\", "/") for clip in action.get("Clips") or []]
    files = [folder / f"action_{number}" / f"{Path(url).name.removesuffix('.mp4')}.mp4" for url in urls]
    problems += [
        f"{where}: there is no file {file}; unpack it from the archive of {folder.name}, or remove the "
        f"action from {_FILE}"
        for file in files
        if not file.is_file()
    ]
    if len(files) < 2:
        problems.append(f"{where}: fewer than two clips; complete its 'Clips', or remove the action")
    return tuple(View(file) for file in files)
