"""Folders in RAM: below a tmpfs, each the property of one process, and gone with it.

The name of a folder tells whose it is. What a killed process left is removed by the next run.
"""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

TMPFS = Path("/dev/shm")
_PREFIX = "unfreeze-clips"


def new_folder(root: Path) -> Path:
    """The path of this process's own folder; those of processes that are no more are removed first."""
    sweep(root)
    stem = f"{_PREFIX}-{_namespace()}-{os.getpid()}-{_started(os.getpid())}"
    number = 1
    while (path := root / f"{stem}-{number}").exists():
        number += 1
    return path


def sweep(root: Path) -> None:
    """Remove the folders below ``root`` whose process has ended.

    A process is told by its number and the moment of its start, as numbers are used again; and one that lives
    in another container, where it has a number of its own, is left alone.
    """
    for path in root.glob(f"{_PREFIX}-*-*-*-*"):
        namespace, pid, started, *_ = path.name.removeprefix(f"{_PREFIX}-").split("-")
        if namespace == _namespace() and _started(pid) != started:
            shutil.rmtree(path, ignore_errors=True)


def remove_at_end(owner: object, path: Path) -> Callable[[], object]:
    """Remove ``path`` when ``owner`` or this process ends, or when what is returned is called."""
    return weakref.finalize(owner, _remove, path, os.getpid())


def _remove(path: Path, pid: int) -> None:
    if os.getpid() == pid:  # workers are copies of their parent, and end earlier
        shutil.rmtree(path, ignore_errors=True)


def _started(pid: int | str) -> str | None:
    """When a process began, in ticks since the machine did; None where there is no such process."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # proc(5): the second field is the program's name in brackets, which may hold anything; field 22 is wanted
    return status.rpartition(")")[2].split()[19]


def _namespace() -> str:
    """Which processes the numbers are of: containers may share the memory and not the numbers."""
    return str(os.stat("/proc/self/ns/pid").st_ino)
