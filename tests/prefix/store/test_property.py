"""Whatever happens to a store and its folder: what it gives is right, and what it says is there is there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from unfreeze.prefix.store import ActivationStore, Spec

CPU = torch.device("cpu")
ROWS = (1, 2, 1, 3, 1, 1)
SPEC = Spec(((5,), ()), (torch.float32, torch.int64))
KEYS = st.tuples(st.integers(0, len(ROWS) - 1), st.integers(1, 4))
PLACES = st.integers(0, 10**6)


def rows_of(index: int, version: int) -> tuple[torch.Tensor, ...]:
    first = 1000 * index + 100 * version + torch.arange(ROWS[index])
    return first[:, None] + torch.arange(5.0) / 8, first


class Folders(RuleBasedStateMachine):
    """A store next to what a dictionary of the same keys may hold."""

    store: ActivationStore

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.root = Path(self.temporary.name) / "cache"
        self.put_ever: set[tuple[int, int]] = set()
        self.promised: set[tuple[int, int]] = set()

    @initialize(
        memory=st.sampled_from([CPU, None]),
        folder=st.booleans(),
        limit=st.sampled_from([0, 100, 700, 3000, 10**9]),
    )
    def start(self, memory, folder, limit) -> None:
        self.options = {"memory": memory, "folder": self.root if folder else None, "limit": limit, "key": "k"}
        self.store = ActivationStore(ROWS, SPEC, **self.options)

    @rule(key=KEYS)
    def put(self, key) -> None:
        given = rows_of(*key)
        self.store.put(*key, given)
        for leaf in given:
            leaf.fill_(-1)
        self.put_ever.add(key)
        # the newest version takes the place of another in memory, which may have been nowhere else
        self.promised = {other for other in self.promised if other[0] != key[0]}

    @rule(keys=st.lists(KEYS, max_size=6))
    def get(self, keys) -> None:
        there = [key for key in keys if self.store.has(*key)]
        found = self.store.get(there)
        wanted = [torch.cat(leaves) for leaves in zip(*map(rows_of_key, there), strict=True)] if there else []
        for leaf, expected in zip(found, wanted, strict=bool(there)):
            assert torch.equal(leaf, expected)
            leaf.fill_(-2)
        self.promised.update(there)

    @rule()
    def flush(self) -> None:
        self.store.flush()

    @rule(memory=st.sampled_from([CPU, None]))
    def reopen(self, memory) -> None:
        self.store.close()
        assert not any(self.store.has(*key) for key in self.put_ever)
        self.options["memory"] = memory
        self.store = ActivationStore(ROWS, SPEC, **self.options)
        self.promised.clear()

    @rule(key=KEYS)
    def another_process_writes(self, key) -> None:
        if self.options["folder"]:
            other = ActivationStore(ROWS, SPEC, **self.options | {"memory": None})
            other.put(*key, rows_of(*key))
            other.close()
            self.put_ever.add(key)

    @rule(which=PLACES, where=PLACES, flip=st.integers(0, 255))
    def corrupt(self, which, where, flip) -> None:
        for path in self.shards(which):
            content = bytearray(path.read_bytes())
            where %= len(content)
            if flip:
                content[where] ^= flip
            else:
                content = content[:where]
            new = path.with_name("new")  # as another program would: not the file that may be mapped
            new.write_bytes(content)
            new.replace(path)

    @rule(which=PLACES)
    def delete(self, which) -> None:
        for path in self.shards(which):
            path.unlink()

    @rule()
    def leave_something_unfinished(self) -> None:
        if self.options["folder"]:
            (self.root / "k" / "a.part").write_bytes(bytes(50))

    @rule()
    def nothing_is_here_that_was_not_put(self) -> None:
        for index in range(len(ROWS)):
            for version in range(1, 5):
                if self.store.has(index, version):
                    assert (index, version) in self.put_ever
                    self.promised.add((index, version))

    @invariant()
    def what_was_said_to_be_here_is_here(self) -> None:
        for key in self.promised:
            for leaf, expected in zip(self.store.get([key]), rows_of(*key), strict=True):
                assert torch.equal(leaf, expected)

    @invariant()
    def the_folder_keeps_to_its_limit(self) -> None:
        size = sum(path.stat().st_size for path in self.shards())
        assert size <= self.options["limit"]

    def shards(self, which: int | None = None) -> list[Path]:
        """All of them, or one if there is any; always the same one, whatever names they were given."""
        if self.store._back is not None:
            for written in self.store._back._pending:
                written.result()
        found = sorted(self.root.glob("k/*.activations"), key=Path.read_bytes)
        return found if which is None or not found else [found[which % len(found)]]

    def teardown(self) -> None:
        self.store.close()
        self.store.notes()
        self.temporary.cleanup()


def rows_of_key(key: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    return rows_of(*key)


Folders.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestFolders = Folders.TestCase
