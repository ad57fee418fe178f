"""The store as training uses it: a tier in memory in front of a tier on disk; either may be missing."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfreeze.prefix.store.back import Back, Key, Leaves
from unfreeze.prefix.store.front import Front, sent
from unfreeze.prefix.store.plain import as_bytes
from unfreeze.prefix.store.spec import Spec
from unfreeze.prefix.store.stats import Stats
from unfreeze.wording import in_bytes

_CPU = torch.device("cpu")
_AGAIN = "encoded in every epoch"
_stores: weakref.WeakSet[ActivationStore] = weakref.WeakSet()


class ActivationStore:
    """Rows of samples, by the sample's index and version; what they mean is for the caller to know.

    The rows of a key are the same bits whoever computes them, so what is here already is not taken in again,
    and what two processes wrote may be read by both. Whatever is wrong with the folder, training goes on: a
    shard that is torn or altered counts as none, and when writing fails, nothing more is written (``notes``).

    The front tier has one version of each sample, the newest; the back tier has all. A later run starts with
    what lies on disk: a sample comes to the front when it is read for the first time, so nobody waits at the
    start. A shard is compared with its checksum when ``has`` or ``get`` comes to it for the first time:
    reading it costs as much as reading the rows in it, and samples come in about the order in which they were
    written.

    It may be used by several threads of the process that made it. It is of no use to any other: its copy in a
    child process, forked or pickled, is empty and keeps nothing, so ``has`` is to be asked in the main
    process (where samplers run), and not in a worker of a loader.

    Args:
        rows: of each sample.
        spec: of a row.
        memory: device of the front tier, or None.
        folder: of the caches of all keys, or None; it is made.
        limit: of each tier, in bytes; that of the folder counts the caches of all keys, of which those that
            no process uses make room. Keep this much, and say once that the rest does not fit.
        key: a name that is another where anything is different that the rows depend on; it is a folder's
            name.
        memory_limit: of the front tier, where it is another one.
    """

    def __init__(
        self,
        rows: Sequence[int],
        spec: Spec,
        *,
        memory: torch.device | None,
        folder: Path | None,
        limit: int,
        key: str,
        memory_limit: int | None = None,
    ) -> None:
        self._rows = np.asarray(rows, np.int64)
        self._spec, self._root, self._limit = spec, folder, limit
        self._lock = threading.RLock()
        self._told: set[str] = set()
        self._hits = self._misses = self._taken = 0
        self._reading = self._putting = 0.0
        self._front: Front | None = None
        self._back: Back | None = None
        self._no_memory: str | None = None
        if memory is not None:
            try:
                bound = limit if memory_limit is None else memory_limit
                self._front = Front(self._rows, spec, torch.device(memory), bound)
            except RuntimeError as error:
                self._no_memory = str(error).partition("\n")[0]
        if folder is not None:
            self._back = Back(self._rows, spec, folder, limit, key)
        self._last: tuple[Stats, list[str]] | None = None  # of a store that was closed
        _stores.add(self)

    @property
    def device(self) -> torch.device:
        """Where ``get`` puts rows."""
        return self._front.device if self._front is not None else _CPU

    def has(self, index: int, version: int) -> bool:
        """Whether ``get`` gives the rows of this sample, now and later on.

        That is so until the store is closed, but for one case: rows that the back tier could not take go from
        the front when those of a newer version of the same sample come.
        """
        with self._lock:
            if self._front is not None and self._front.has(index, version):
                return True
            return self._back is not None and self._back.has((index, version))

    def put(self, index: int, version: int, leaves: Sequence[Tensor]) -> None:
        """Keep a sample's rows, as far as there is room. They are copied.

        Args:
            version: the epoch that the sample's random draw is of, from 1.
            leaves: (rows of the sample, …) each, on any device.
        """
        assert version >= 1
        leaves = tuple(leaf.detach() for leaf in leaves)
        assert self._spec.fits(leaves, int(self._rows[index])), "not the rows of this sample"
        started = time.perf_counter()
        with self._lock:
            taken = self._front is not None and self._front.put(index, version, leaves)
            if self._back is not None:
                taken = self._back.put(index, version, leaves) or taken
            self._misses += 1
            self._taken += len(leaves[0]) if taken and leaves else 0
            self._putting += time.perf_counter() - started

    def get(self, keys: Sequence[Key]) -> tuple[Tensor, ...]:
        """The rows of (index, version) of several samples, one sample after the other: (rows, …) each.

        They are a copy, on the front tier's device, or else on the CPU.

        Raises:
            KeyError: one of them is not here.
        """
        started = time.perf_counter()
        indices, versions = np.array(keys, np.int64).reshape(-1, 2).T
        with self._lock:
            here = np.zeros(len(keys), bool)
            fronted: tuple[Tensor, ...] = ()
            if self._front is not None:
                here = self._front.here(indices, versions)
                fronted = self._front.take(indices[here])
            behind = [self._find(key) for key, there in zip(keys, here, strict=True) if not there]
        if behind or self._front is None:
            leaves = self._read(behind, indices[~here])
            with self._lock:
                self._promote(indices[~here], versions[~here], leaves)
            if here.any():
                leaves = self._merge(fronted, leaves, np.repeat(here, self._rows[indices]))
        else:
            leaves = fronted
        with self._lock:
            self._hits += len(keys)
            self._reading += time.perf_counter() - started
        return leaves

    def flush(self) -> None:
        """Wait until all is written that can be, and take in what other processes have written."""
        with self._lock:
            if self._back is not None:
                self._back.flush()

    def close(self) -> None:
        """Write what is not written, and let memory and folder go. From now on nothing is here, or kept."""
        with self._lock:
            try:
                if self._back is not None:
                    self._back.close()
            finally:
                self._last = self.stats(), self._lines()
                self._front = self._back = None

    def stats(self) -> Stats:
        with self._lock:
            if self._last is not None:
                return self._last[0]
            return Stats(
                hits=self._hits,
                misses=self._misses,
                rows=self._taken,
                memory_bytes=self._front.nbytes if self._front is not None else 0,
                written_bytes=self._back.written if self._back is not None else 0,
                read_seconds=self._reading,
                put_seconds=self._putting,
                write_seconds=self._back.seconds if self._back is not None else 0.0,
            )

    def notes(self) -> list[str]:
        """What the user should know and has not been told yet, one line each; ask after every epoch."""
        with self._lock:
            news = [line for line in self._lines() if line not in self._told]
            self._told.update(news)
            return news

    def __reduce__(self) -> tuple[Any, ...]:
        return _empty, (self._rows, self._spec)

    def _find(self, key: Key) -> tuple[Leaves, int]:
        found = self._back.find((key[0], key[1])) if self._back is not None else None
        if found is None:
            raise KeyError(f"sample {key[0]}, version {key[1]} is not in the cache")
        return found

    def _read(self, places: Sequence[tuple[Leaves, int]], indices: np.ndarray) -> tuple[Tensor, ...]:
        """Rows of the back tier, one sample after the other, where ``get`` puts them."""
        counts = self._rows[indices].tolist()
        batch = self._spec.empty(sum(counts), pin=self.device.type == "cuda")
        targets, at = [as_bytes(leaf) for leaf in batch], 0
        for (leaves, begin), rows in zip(places, counts, strict=True):
            for target, leaf in zip(targets, leaves, strict=True):
                target[at : at + rows] = leaf[begin : begin + rows]
            at += rows
        return tuple(sent(leaf, self.device) for leaf in batch)

    def _promote(self, indices: np.ndarray, versions: np.ndarray, leaves: Sequence[Tensor]) -> None:
        """Take rows that were read from the back tier to the front."""
        if self._front is None:
            return
        at = 0
        for index, version in zip(indices.tolist(), versions.tolist(), strict=True):
            rows = int(self._rows[index])
            self._front.put(index, version, [leaf[at : at + rows] for leaf in leaves])
            at += rows

    def _merge(
        self, fronted: Sequence[Tensor], read: Sequence[Tensor], is_fronted: np.ndarray
    ) -> tuple[Tensor, ...]:
        """Rows of both tiers as they were asked for."""
        batch = self._spec.empty(len(is_fronted), self.device)
        for rows, leaves in ((is_fronted, fronted), (~is_fronted, read)):
            wanted = sent(torch.from_numpy(np.flatnonzero(rows)), self.device)
            for mine, theirs in zip(batch, leaves, strict=True):
                mine.index_copy_(0, wanted, theirs)
        return batch

    def _lines(self) -> list[str]:
        if self._last is not None:
            return self._last[1]
        back, front, lines = self._back, self._front, []
        limit = f"{in_bytes(self._limit)} (--cache_gb)"
        if self._no_memory is not None:
            what = f"clips are {_AGAIN}" if back is None else "it is read from disk"
            lines.append(f"Prefix cache: no memory for it ({self._no_memory}); {what}")
        if back is not None:
            if front is None:
                what = f"clips that are not in it are {_AGAIN}"
            else:
                what = "this run goes on from memory, and later ones encode what is missing"
            if back.damaged:
                removed = f"damaged files were removed from {self._root}"
                lines.append(f"Prefix cache: {removed}; their clips are encoded again")
            if back.error is not None:
                lines.append(
                    f"Prefix cache: {self._root} cannot be written to any more ({back.error}); {what}"
                )
            if back.full:
                lines.append(f"Prefix cache: {self._root} is full with {limit}; {what}")
        if front is not None and front.full and (back is None or back.full or back.error is not None):
            lines.append(f"Prefix cache: memory is full with {limit}; clips that are not in it are {_AGAIN}")
        return lines

    def _abandon(self) -> None:
        """In a child process: nothing is here. What the parent holds is neither let go nor freed."""
        self._lock = threading.RLock()  # a thread of the parent may have had it
        self._left = self._front, self._back
        self._front = self._back = None


def _empty(rows: Sequence[int], spec: Spec) -> ActivationStore:
    return ActivationStore(rows, spec, memory=None, folder=None, limit=0, key="none")


def _abandon_all() -> None:
    for store in list(_stores):
        store._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
