"""A folder of entries whose size stays within a limit, whoever writes to it at the same time.

The file ``size`` holds the sum of all files' sizes and is the lock under which it changes: room is reserved
there before an entry is written. Where the sum would pass the limit, the folder is scanned, and entries make
room that no one has used since this run began, the least recently used first. The scan forgets what was
reserved and not written: that of killed processes for good, and that of others who are about to write, by
which the limit may be passed: by an entry for each of them.

What this run uses itself is never evicted by it. Every epoch uses every clip once, in another order, so the
least recently used is rather the next to be wanted; a cache that replaces it hits less often than one that
keeps what it has, and writes all the time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from unfreeze.data.clip_cache.entry import SUFFIX, UNFINISHED

try:
    import fcntl
except ImportError:  # Windows: processes that write at the same instant may pass the limit by an entry each
    fcntl = None  # type: ignore[assignment]

_ABANDONED = 3600  # seconds after which a file that is not finished belongs to a killed process
_SPARE = 0.05  # of the limit: evict this much more than is needed, so that not every entry needs a scan


@dataclass(frozen=True)
class _File:
    path: Path
    size: int
    used: int  # nanoseconds since the epoch


class Folder:
    """Room for entries in ``path``.

    Attributes:
        limit: of all files together, in bytes.
        since: when this run began, in nanoseconds: what was used later is in use.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit = path, limit
        self.since = time.time_ns()

    def prepare(self) -> None:
        """Make the folder, and put right what killed processes left in it.

        Raises:
            OSError: it cannot be made or written to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for file in self.path.glob(f"*{UNFINISHED}"):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > _ABANDONED:
                    file.unlink()
        with self._locked() as size:
            size.set(held(self.path))

    def reserve(self, size: int) -> bool:
        """Whether there is room for ``size`` more bytes; then they are counted as taken.

        Raises:
            OSError: the folder cannot be written to.
        """
        with self._locked() as total:
            taken = total.get()
            if taken + size > self.limit:
                taken = self._make_room(size)
            fits = taken + size <= self.limit
            total.set(taken + size * fits)
        return fits

    def release(self, size: int) -> None:
        """Give back what was reserved for an entry that was not written."""
        with suppress(OSError), self._locked() as total:
            total.set(max(total.get() - size, 0))

    @staticmethod
    def touch(path: Path) -> None:
        """Note that an entry was used just now, in its time of access."""
        with suppress(OSError):  # a folder that may only be read is still of use
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))

    def _make_room(self, size: int) -> int:
        """Evict, if that is enough, until ``size`` bytes fit; what the folder holds then.

        An entry that another process has mapped stays readable to it.
        """
        files = list(_files(self.path))
        total = sum(file.size for file in files)
        idle = sorted(
            (file for file in files if file.path.suffix == SUFFIX and file.used < self.since),
            key=lambda file: file.used,
        )
        if total - sum(file.size for file in idle) + size > self.limit:
            return total
        wanted = min(self.limit - size, int(self.limit * (1 - _SPARE)))
        for file in idle:
            if total <= wanted:
                break
            file.path.unlink(missing_ok=True)
            total -= file.size
        return total

    @contextmanager
    def _locked(self) -> Iterator[_Number]:
        descriptor = os.open(self.path / "size", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # let go when the file is closed
            yield _Number(descriptor)
        finally:
            os.close(descriptor)


class _Number:
    """A whole number in an open file, always of the same length, so that a full disk has room for it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def get(self) -> int:
        return int(os.pread(self.descriptor, 20, 0) or 0)

    def set(self, value: int) -> None:
        os.pwrite(self.descriptor, b"%20d" % value, 0)


def held(path: Path) -> int:
    """Bytes of all entries in ``path``, finished or not; 0 where there is no such folder."""
    return sum(file.size for file in _files(path))


def _files(path: Path) -> Iterator[_File]:
    with suppress(FileNotFoundError), os.scandir(path) as found:
        for item in found:
            if item.name.endswith((SUFFIX, UNFINISHED)):
                with suppress(FileNotFoundError):  # evicted by another run, or finished, just now
                    status = item.stat()
                    yield _File(Path(item.path), status.st_size, status.st_atime_ns)
