"""A folder of classes: ``<class>/*.mp4``, or ``train/<class>/*.mp4`` and ``val/<class>/*.mp4``.

There is one task, called ``label``. Class folders may have subfolders of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from unfreeze.data.files import videos_below
from unfreeze.data.formats.base import Row, Table, check_tasks
from unfreeze.data.manifest import View
from unfreeze.data.splits import split_named

DESCRIPTION = "a folder with one subfolder of videos per class (or train/ and val/ with such subfolders each)"

TASK = "label"


def recognises(source: Path) -> bool:
    return source.is_dir()


def read(source: Path, tasks: Sequence[str] | None) -> Table:
    check_tasks(source, tasks, [TASK])
    if not source.is_dir():
        raise ValueError(f"{source} is a file and no folder of classes; name the folder")
    rows, notes = [], []
    used: set[Path] = set()
    for split, folder in _class_folders(source):
        videos, _ = videos_below(folder)
        used.update(videos)
        if not videos:
            notes.append(f"{folder} has no videos: the class is left out of {split or 'the data'}")
        rows += [
            Row((View(v),), {TASK: folder.name}, v.relative_to(source).as_posix(), split) for v in videos
        ]
    everywhere, others = videos_below(source)
    stray = [video for video in everywhere if video not in used]
    if stray:
        more = f" and {len(stray) - 1} more" if len(stray) > 1 else ""
        notes.append(f"{stray[0]}{more}: in no class folder, left aside")
    if others:
        notes.append(f"{source}: {others} file{'s' * (others != 1)} without a video extension left aside")
    if not rows:
        there = f"{len(everywhere)} videos, none of them in a class folder" if everywhere else "no videos"
        raise ValueError(f"{source} has {there}; make one subfolder per class and put the videos there")
    return Table((TASK,), tuple(rows), tuple(notes))


def _class_folders(source: Path) -> Iterator[tuple[str | None, Path]]:
    top = _subfolders(source)
    # A folder called "train" may be a class of trains: it is a split only when it holds folders itself.
    by_split = [(split_named(folder.name), folder) for folder in top if _subfolders(folder)]
    by_split = [(split, folder) for split, folder in by_split if split]
    if by_split:
        for split, folder in by_split:
            yield from ((split, class_folder) for class_folder in _subfolders(folder))
    else:
        yield from ((None, folder) for folder in top)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
