"""Memory of this machine, as far as it is this process's to use: a container has a limit of its own."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TORCH = 500 * 10**6  # bytes of Python with torch and a model, where the system does not say


@dataclass(frozen=True)
class _ControlGroup:
    """Files of a version of Linux's control groups; https://docs.kernel.org/admin-guide/cgroup-v2.html."""

    limit: Path
    used: Path
    stat: Path
    cache: str  # the name in ``stat`` of what only caches files, and is given up when memory is short


_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
_GROUPS = (
    _ControlGroup(_V2 / "memory.max", _V2 / "memory.current", _V2 / "memory.stat", "inactive_file"),
    _ControlGroup(
        _V1 / "memory.limit_in_bytes",
        _V1 / "memory.usage_in_bytes",
        _V1 / "memory.stat",
        "total_inactive_file",
    ),
)


def available() -> int | None:
    """Bytes that can be taken now: the least of what the machine and the container have left.

    None where the system does not say.
    """
    bounds = []
    with suppress(OSError, ValueError, KeyError):
        bounds.append(1024 * _numbers(_PROC / "meminfo")["MemAvailable:"])
    for group in _GROUPS:
        with suppress(OSError, ValueError):  # no such group, or no limit ("max")
            limit, used = (int(file.read_text()) for file in (group.limit, group.used))
            with suppress(OSError, ValueError, KeyError):
                used -= _numbers(group.stat)[group.cache]
            bounds.append(max(limit - used, 0))
    return min(bounds, default=None)


def resident() -> int:
    """Bytes that this process has now."""
    with suppress(OSError, ValueError, IndexError):
        return int((_PROC / "self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return _TORCH


def _numbers(file: Path) -> dict[str, int]:
    """Lines of a word and a number."""
    lines = (line.split() for line in file.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}
