"""Lists as Kinetics and mmaction2 have them: ``path label`` per line, one file per split.

A folder with ``*_train_list.txt`` and ``*_val_list.txt`` (or ``train.txt`` and the like), or one such file.
The label is the last word of its line, a number or a name. Where a file of class names lies beside the list
(``classes.txt``, ``label_map.txt``, ``classInd.txt``), it says what the numbers stand for, counted from 0
unless its lines begin with the numbers themselves.

Paths are relative to the folder of the list, or to the subfolder in which the first of them is found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unfreeze.data.files import is_video
from unfreeze.data.formats.base import Row, Table, check_tasks
from unfreeze.data.manifest import View
from unfreeze.data.splits import split_named
from unfreeze.options import nearest

DESCRIPTION = "a .txt list with 'path label' in each line (or a folder with train and val lists)"

TASK = "label"
_CLASS_FILES = re.compile(r"(classes|class_names|classInd|label_map.*)\.txt", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+")


def recognises(source: Path) -> bool:
    if source.is_dir():
        return any(split == "train" for split, _ in _lists(source))
    return source.suffix.lower() == ".txt" and not _CLASS_FILES.fullmatch(source.name)


def read(source: Path, tasks: Sequence[str] | None) -> Table:
    chosen = check_tasks(source, tasks, [TASK])
    folder = source if source.is_dir() else source.parent
    lists: list[tuple[str | None, Path]] = [*_lists(source)] if source.is_dir() else [(None, source)]
    if not lists:
        raise ValueError(f"{source} has no list of a split in its name, such as train.txt; name the file")
    notes: list[str] = []
    lines = [line for split, file in lists for line in _lines(file, split, notes)]
    class_file = next((p for p in sorted(folder.iterdir()) if _CLASS_FILES.fullmatch(p.name)), None)
    if class_file is None:
        rows = tuple(Row((View(line.path),), {TASK: line.label}, line.where, line.split) for line in lines)
        return Table(chosen, rows, tuple(notes))
    names = _class_names(class_file)
    labels = [_named(line, names, class_file) for line in lines]
    rows = tuple(
        Row((View(line.path),), {TASK: label}, line.where, line.split)
        for line, label in zip(lines, labels, strict=True)
    )
    used = set(labels)
    order = tuple(dict.fromkeys(name for _, name in sorted(names.items()) if name in used))
    if unused := len(set(names.values()) - used):
        notes.append(
            f"{class_file} names {len(names)} classes: {unused} of them have no clip and are left out"
        )
    return Table(chosen, rows, tuple(notes), {TASK: order})


@dataclass(frozen=True)
class _Line:
    path: Path
    label: str
    where: str
    split: str | None


def _lists(folder: Path) -> list[tuple[str, Path]]:
    """Split and file of every list in ``folder``, train first.

    Raises:
        ValueError: two lists claim the same split.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.txt")):
        words = [word for word in re.split(r"[^a-z]+", file.stem.lower()) if word != "rawframes"]
        split = next((s for word in words if (s := split_named(word.removesuffix("list")))), None)
        if split is None or _CLASS_FILES.fullmatch(file.name) or "rawframes" in file.stem.lower():
            continue
        if split in found:
            raise ValueError(
                f"{folder} has two lists for {split}: {found[split].name} and {file.name}; keep one of them "
                f"there, or name one file"
            )
        found[split] = file
    return sorted(found.items(), key=lambda item: ("train", "val", "test").index(item[0]))


def _lines(file: Path, split: str | None, notes: list[str]) -> list[_Line]:
    found = []
    for number, line in enumerate(_read(file), 1):
        if line.strip() and not line.startswith("#"):
            found.append((f"{file.name}:{number}", *_parts(f"{file}:{number}", line.strip())))
    if not found:
        raise ValueError(f"{file} is empty; write 'path label' in each line, or remove it")
    root = _root(file.parent, found[0][1])
    if root != file.parent:
        notes.append(f"{file}: its paths are relative to {root}, where the first of them is")
    return [_Line(root / path, label, where, split) for where, path, label in found]


def _read(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error.reason}); save it in UTF-8") from None


def _parts(where: str, line: str) -> tuple[str, str]:
    """Path and label. Words are parted by blanks, or by commas where there are none."""
    path, _, label = line.rpartition(",") if len(line.split()) == 1 else _at_last_blank(line)
    if not path:
        raise ValueError(f"{where}: {line!r} has no label; write 'path label' in each line")
    before, _, word = _at_last_blank(path)
    if _NUMBER.fullmatch(word) and before and not is_video(Path(path)):
        if is_video(Path(before)):
            raise ValueError(
                f"{where}: {before} has several numbers after it; for several labels of one clip write a CSV "
                f"with {word}|{label} in one cell"
            )
        raise ValueError(
            f"{where}: {before!r} looks like a folder of raw frames, with their number and a label after it; "
            f"give a list of video files"
        )
    return path, label


def _at_last_blank(text: str) -> tuple[str, str, str]:
    path, *label = text.rsplit(maxsplit=1)
    return (path, " ", label[0]) if label else ("", "", path)


def _root(folder: Path, first: str) -> Path:
    """The folder to which paths are relative: that of the list, or a subfolder of it that has the first."""
    if (folder / first).exists():
        return folder
    below = (p for p in sorted(folder.iterdir()) if p.is_dir() and (p / first).exists())
    return next(below, folder)


def _class_names(file: Path) -> dict[int, str]:
    """Number -> class name."""
    lines = [line.strip() for line in _read(file) if line.strip()]
    if not lines:
        raise ValueError(f"{file} is empty; write one class name per line, or remove it")
    numbered = [re.fullmatch(r"([0-9]+)[\s,]+(.+)", line) for line in lines]
    names = {int(match[1]): match[2] for match in numbered if match}
    return names if len(names) == len(lines) else dict(enumerate(lines))


def _named(line: _Line, names: dict[int, str], file: Path) -> str:
    if _NUMBER.fullmatch(line.label) and line.label not in names.values():
        if int(line.label) not in names:
            raise ValueError(
                f"{line.where}: there is no class {line.label} in {file}, which has {min(names)} to "
                f"{max(names)}; correct the number, or add the name there"
            )
        return names[int(line.label)]
    if line.label not in names.values():
        raise ValueError(
            f"{line.where}: there is no class {line.label!r} in {file}; correct the label, or add the "
            f"name there{nearest(line.label, sorted(names.values()))}"
        )
    return line.label
