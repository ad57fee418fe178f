"""A folder of caches, one folder a key, whose size stays within a limit, whoever else writes to it.

``<root>/lock`` is the lock under which room is taken and given back. ``<root>/<key>/in_use`` is held by every
process that uses the key, and its time of change tells when that was; a file that is being written is held by
its writer. So what killed processes left is known from what others are about to write, and a cache that is in
use is never touched.

Where the limit would be passed, caches of other keys that nobody uses make room, the least recently used
first, file by file. The cache of this key keeps what it has: every epoch uses every sample once, in another
order, so the least recently used is rather the next to be wanted.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unfreeze.prefix.store import locks
from unfreeze.prefix.store.shard import SUFFIX, UNFINISHED

_LOCK = "lock"
_IN_USE = "in_use"  # a folder without it is none of ours, whatever it holds


@dataclass(frozen=True)
class _File:
    path: Path
    size: int


class Folder:
    """The files of ``key`` below ``root``.

    Attributes:
        path: of the key's own folder.
        limit: of all files of all keys, in bytes.
    """

    def __init__(self, root: Path, key: str, limit: int) -> None:
        assert Path(key).name == key
        assert key not in ("", _LOCK)
        self.root, self.path, self.limit = root, root / key, limit
        self._held: int | None = None

    def open(self) -> None:
        """Make the folder, hold it, and remove what killed processes left unfinished in it or beside it.

        Raises:
            OSError: it cannot be made or written to; what it holds may be read all the same, and is held then
                if that is possible.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._hold(os.O_RDWR | os.O_CREAT)
                os.utime(self.path / _IN_USE)
                self._sweep()
        except OSError:
            if self._held is None:
                with suppress(OSError):
                    self._hold(os.O_RDONLY)
            raise

    def close(self) -> None:
        """Let go of the folder: from now on it may have to make room for others."""
        if self._held is not None:
            with suppress(OSError):
                os.utime(self.path / _IN_USE)
            locks.let_go(self._held)
            os.close(self._held)
            self._held = None

    def shards(self) -> list[Path]:
        """All finished files, whoever wrote them."""
        return sorted(file.path for file in _files(self.path, SUFFIX))

    def write(self, parts: Sequence[Any]) -> Path | None:
        """A new file, made of buffers; it appears whole or not at all. None where the limit leaves no room.

        Nothing is flushed to the disk: what a power failure leaves does not pass the checks of ``shard``.

        Raises:
            OSError: it cannot be written; nothing is left behind.
        """
        name = uuid.uuid4().hex
        unfinished, finished = self.path / f"{name}{UNFINISHED}", self.path / f"{name}{SUFFIX}"
        size = sum(len(part) for part in parts)
        with self._locked():
            if not self._make_room(size):
                return None
            descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            locks.share(descriptor)
        try:
            os.truncate(descriptor, size)  # from now on others see what it will take
            with open(os.dup(descriptor), "wb") as file:
                for part in parts:
                    file.write(part)
            os.replace(unfinished, finished)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise
        finally:
            locks.let_go(descriptor)
            os.close(descriptor)
        return finished

    def _hold(self, flags: int) -> None:
        self._held = os.open(self.path / _IN_USE, flags, 0o644)
        locks.share(self._held)

    def _make_room(self, size: int) -> bool:
        """Evict, if that is enough, until ``size`` bytes fit. The caller has the lock.

        A file that another process has mapped stays readable to it.
        """
        total = sum(file.size for key in self._keys() for file in _files(key, SUFFIX, UNFINISHED))
        if total + size <= self.limit:
            return True
        idle = [(key, list(_files(key, SUFFIX))) for key in self._idle()]
        if total - sum(file.size for _, files in idle for file in files) + size > self.limit:
            return False
        for key, files in idle:
            for file in files:
                if total + size <= self.limit:
                    return True
                file.path.unlink(missing_ok=True)
                total -= file.size
            with suppress(OSError):  # not empty, as somebody keeps something of his own there
                (key / _IN_USE).unlink()
                key.rmdir()
        return total + size <= self.limit

    def _keys(self) -> list[Path]:
        with suppress(OSError), os.scandir(self.root) as found:
            return [Path(item.path) for item in found if os.path.exists(os.path.join(item.path, _IN_USE))]
        return []

    def _idle(self) -> list[Path]:
        """Folders of other keys that no process uses, the least recently used first."""
        idle = []
        for key in self._keys():
            if key.name != self.path.name and _is_free(key / _IN_USE):
                with suppress(OSError):
                    idle.append(((key / _IN_USE).stat().st_mtime_ns, key))
        return [key for _, key in sorted(idle)]

    def _sweep(self) -> None:
        for key in self._keys():
            for file in _files(key, UNFINISHED):
                if _is_free(file.path):
                    file.path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with locks.alone(descriptor):
                yield
        finally:
            os.close(descriptor)


def has_shards(root: Path, key: str) -> bool:
    """Whether there is anything of a key, whole or damaged."""
    return next(_files(root / key, SUFFIX), None) is not None


def held(root: Path) -> int:
    """Bytes of all caches below ``root``, finished or not; 0 where there is no such folder."""
    keys = Folder(root, "none", 0)._keys()
    return sum(file.size for key in keys for file in _files(key, SUFFIX, UNFINISHED))


def _is_free(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)  # NFS gives the lock to those only who may write
    except OSError:
        return False
    try:
        return locks.is_free(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path, *suffixes: str) -> Iterator[_File]:
    with suppress(OSError), os.scandir(folder) as found:
        for item in found:
            if item.name.endswith(suffixes):
                with suppress(FileNotFoundError):  # finished or evicted by another process just now
                    yield _File(Path(item.path), item.stat().st_size)
