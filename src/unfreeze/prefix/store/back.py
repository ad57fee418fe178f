"""The tier on disk: rows are gathered in a buffer, and written as a shard when it is full.

A buffer and a shard are the same thing to a reader, a segment: rows of leaves, and what they are of. When a
background thread has written a buffer, the mapping of the file takes its place and its memory is given back.
A buffer that cannot be written stays in memory, so that what was said to be here is here; from then on
nothing more is taken in, so there are four at most: that one, two that wait, and the one that is filled.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from torch import Tensor

from unfreeze.prefix.store import shard
from unfreeze.prefix.store.folder import Folder
from unfreeze.prefix.store.plain import as_bytes, given_bytes
from unfreeze.prefix.store.shard import DamagedError, ForeignError, Header
from unfreeze.prefix.store.spec import Spec

SHARD_BYTES = 64 * 10**6
_LEAST_SHARDS = 8  # that a limit has room for: what is left of it at the end is too small for one more
_WAITING = 2  # full buffers, at most, while the disk is slow

Key = tuple[int, int]  # index of a sample, version
Leaves = tuple[np.ndarray, ...]  # (rows, bytes) each


class Segment:
    """Rows in memory or in a file.

    Attributes:
        leaves: (rows, bytes) each; None where the file was not opened yet.
        path: of the file, if there is one.
    """

    def __init__(self, leaves: Leaves | None, path: Path | None = None) -> None:
        self.leaves, self.path = leaves, path
        self.header: Header | None = None
        self.listed: list[tuple[int, int, int]] = []  # index, version, first row
        self.used = 0  # rows


class Back:
    """Segments of one key. Not for several threads at once, but for the one that it has itself.

    Args:
        rows: of each sample.
        root: the folder that the key's own folder is in.
        limit: of ``root``, in bytes.
        key: of the cache.

    Attributes:
        error: why nothing more is written, or None.
        full: nothing more is written, as the limit is reached.
        damaged: shards that were removed, as they were torn or altered.
        written: bytes of the shards that were written.
        seconds: that writing them took, in the background.
    """

    def __init__(self, rows: np.ndarray, spec: Spec, root: Path, limit: int, key: str) -> None:
        self._rows, self._spec, self._key = rows, spec, key
        self._folder = Folder(root, key, limit)
        self.error: str | None = None
        self.full = False
        self.damaged = self.written = 0
        self.seconds = 0.0
        self._capacity = min(SHARD_BYTES, limit // _LEAST_SHARDS) // max(spec.row_bytes, 1)
        self._segments: list[Segment] = []
        self._index: dict[Key, tuple[Segment, int]] = {}
        self._known: set[Path] = set()
        self._buffer: Segment | None = None
        self._pending: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, "prefix-cache-writer")
        try:
            self._folder.open()
        except OSError as error:
            self.error = _reason(error)
        self._find_shards()

    def has(self, key: Key) -> bool:
        """Whether its rows can be had: the shard they are in is opened and compared with its checksum."""
        return self.find(key) is not None

    def find(self, key: Key) -> tuple[Leaves, int] | None:
        """The leaves of a segment, and the first of the key's rows in them."""
        while (place := self._index.get(key)) is not None:
            segment, begin = place
            leaves = segment.leaves or self._open(segment)
            if leaves is not None:
                return leaves, begin
        return None

    def put(self, index: int, version: int, leaves: Sequence[Tensor]) -> bool:
        """Take a sample's rows in, which are copied; whether it did. Waits where the disk is too slow."""
        if (index, version) in self._index or self.full or self.error is not None:
            return False
        rows = int(self._rows[index])
        if self._buffer is not None and self._buffer.used + rows > self._buffer_rows(self._buffer):
            self._seal()
            while len(self._pending) > _WAITING:
                self._pending.popleft().result()
        if self._buffer is None:
            try:
                room = self._spec.empty(max(self._capacity, rows))
                self._buffer = Segment(tuple(as_bytes(leaf) for leaf in room))
            except RuntimeError as error:  # no memory
                self.error = str(error)
                return False
        buffer, begin = self._buffer, self._buffer.used
        assert buffer.leaves is not None
        for mine, given in zip(buffer.leaves, leaves, strict=True):
            mine[begin : begin + rows] = given_bytes(given)
        buffer.used += rows
        buffer.listed.append((index, version, begin))
        self._index[index, version] = buffer, begin
        return True

    def flush(self) -> None:
        """Wait until all is written that can be, and look for what other processes have written."""
        self._finish()
        self._find_shards()

    def close(self) -> None:
        self._finish()
        self._thread.shutdown()
        self._folder.close()

    def _finish(self) -> None:
        self._seal()
        while self._pending:
            self._pending.popleft().result()

    @staticmethod
    def _buffer_rows(buffer: Segment) -> int:
        assert buffer.leaves is not None
        return len(buffer.leaves[0])

    def _seal(self) -> None:
        """Hand the buffer over to the thread."""
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            assert buffer.leaves is not None
            buffer.leaves = tuple(leaf[: buffer.used] for leaf in buffer.leaves)
            self._segments.append(buffer)
            self._pending.append(self._thread.submit(self._write, buffer))

    def _write(self, segment: Segment) -> None:
        """In the thread: the segment's rows into a file, and the file in place of its memory."""
        if self.full or self.error is not None:
            return
        started = time.perf_counter()
        assert segment.leaves is not None
        try:
            parts = shard.pack(self._key, self._spec, np.array(segment.listed, np.int64), segment.leaves)
            path = self._folder.write(parts)
            if path is None:
                self.full = True
                return
            self._known.add(path)
            header = shard.read_header(path, self._key, self._spec)
            # not compared with its checksum: these are the bytes that were written just now
            segment.leaves = shard.read_leaves(path, self._spec, header, check=False)
            segment.path = path
        except OSError as error:
            self.error = _reason(error)
        except Exception as error:  # a cache is no reason to end a run
            self.error = str(error) or type(error).__name__
        else:
            self.written += header.begin + header.size
        finally:
            self.seconds += time.perf_counter() - started

    def _find_shards(self) -> None:
        """Take in shards that are new here; only what they hold is read of them, not their bodies."""
        for path in self._folder.shards():
            if path in self._known:
                continue
            self._known.add(path)
            try:
                header = shard.read_header(path, self._key, self._spec)
                if not self._is_ours(header):
                    continue
            except DamagedError:
                self._remove(path)
            except (ForeignError, OSError):
                continue
            else:
                segment = Segment(None, path)
                segment.header = header
                segment.listed = [tuple(entry) for entry in header.entries.tolist()]
                self._segments.append(segment)
                self._list(segment)

    def _is_ours(self, header: Header) -> bool:
        """Whether the samples are those of this data set."""
        index, version, begin = header.entries.T
        inside = (index >= 0) & (index < len(self._rows)) & (version >= 1) & (begin >= 0)
        return bool(inside.all()) and bool((begin + self._rows[index] <= header.rows).all())

    def _list(self, segment: Segment) -> None:
        for index, version, begin in segment.listed:
            self._index.setdefault((index, version), (segment, begin))

    def _open(self, segment: Segment) -> Leaves | None:
        """Map a shard and compare it with its checksum, once in this process; None if it is bad."""
        assert segment.path is not None
        assert segment.header is not None
        try:
            segment.leaves = shard.read_leaves(segment.path, self._spec, segment.header)
        except DamagedError:
            self._remove(segment.path)
            self._segments.remove(segment)
            self._index.clear()
            for other in [*self._segments, *filter(None, [self._buffer])]:
                self._list(other)  # another may hold some of its samples, too
        return segment.leaves

    def _remove(self, path: Path) -> None:
        if path.exists():  # otherwise it was not damaged, but removed by somebody
            self.damaged += 1
            with suppress(OSError):
                path.unlink()


def _reason(error: OSError) -> str:
    return (os.strerror(error.errno) if error.errno else str(error)).lower()
