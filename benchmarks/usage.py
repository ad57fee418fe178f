"""What a run takes beside time: memory of its process and workers, and files."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from pathlib import Path

import torch

MIB = 2**20


class Memory:
    """The most memory that this process has held, plus what its workers hold beside it.

    Forked workers share much of what they hold with this process and with each other: adding up the memory
    of each would count that again and again. So of theirs every page counts once, at the moments of
    ``sample``; this process counts at its peak.
    """

    def __init__(self) -> None:
        self._beside = 0

    def sample(self) -> None:
        """Look at the workers, and let a GPU's unused memory go: others need it now."""
        workers = [child.pid or 0 for child in multiprocessing.active_children()]
        together = sum(_bytes(f"{pid}/smaps_rollup", "Pss_Anon", "Pss_Shmem") for pid in ("self", *workers))
        self._beside = max(self._beside, together - _bytes("self/status", "RssAnon", "RssShmem"))
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def peak_mib(self) -> float:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
        # what the system calls maxrss begins with that of the process that started this one
        own = _bytes("self/status", "VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return (own + self._beside) / MIB

    @staticmethod
    def gpu_peak_mib() -> float | None:
        return torch.cuda.max_memory_allocated() / MIB if torch.cuda.is_initialized() else None


def _bytes(file: str, *names: str) -> int:
    """The sum of some lines of a file in ``/proc``; 0 where the system has no such file."""
    try:
        lines = (Path("/proc") / file).read_text().splitlines()
    except OSError:
        return 0
    fields = (line.split() for line in lines)
    return sum(1024 * int(words[1]) for words in fields if words[0].rstrip(":") in names)


def folder_bytes(folder: Path) -> int:
    """Of all files below ``folder``; 0 where it is missing."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
