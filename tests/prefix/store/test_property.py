"""Whatever happens to a store and its folder: what it gives is right, and what it says is there is there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.prefix.store import ActivationStore, Spec

CPU = torch.device("cpu")
ROWS = (1, 2, 1, 3, 1, 1)
SPEC = Spec(((5,), ()), (torch.float32, torch.int64))
ALL = [(index, version) for index in range(len(ROWS)) for version in range(1, 4)]
Key = tuple[int, int]


def rows_of(index: int, version: int) -> tuple[torch.Tensor, ...]:
    first = 1000 * index + 100 * version + torch.arange(ROWS[index])
    return first[:, None] + torch.arange(5.0) / 8, first


class Run:
    """A store, and what is known of it: all that was ever put, and what it has said to be here."""

    def __init__(self, root: Path, memory: bool, folder: bool, limit: int) -> None:
        self.root, self.limit = root / "cache", limit
        self.folder = self.root if folder else None
        self.put_ever: set[Key] = set()
        self.open(memory)

    def open(self, memory: bool) -> None:
        self.store = self.another(CPU if memory else None)
        self.promised: set[Key] = set()

    def another(self, memory: torch.device | None) -> ActivationStore:
        return ActivationStore(ROWS, SPEC, memory=memory, folder=self.folder, limit=self.limit, key="k")

    def put(self, keys: list[Key]) -> None:
        for key in keys:
            given = rows_of(*key)
            self.store.put(*key, given)
            for leaf in given:
                leaf.fill_(-1)
            # the newest version takes the place of another in memory, which may have been nowhere else
            self.promised = {other for other in self.promised if other[0] != key[0]}
        self.put_ever.update(keys)

    def get(self, keys: list[Key]) -> None:
        """Ask for all that is here of the keys, and for all that was promised."""
        for key in keys:
            if self.store.has(*key):
                assert key in self.put_ever
                self.promised.add(key)
        there = [key for key in keys if key in self.promised] + sorted(self.promised)
        found = self.store.get(there)
        wanted = [torch.cat(leaves) for leaves in zip(*(rows_of(*key) for key in there), strict=True)]
        for leaf, expected in zip(found, wanted or found, strict=True):
            assert torch.equal(leaf, expected)
            leaf.fill_(-2)

    def flush(self) -> None:
        self.store.flush()

    def reopen(self, memory: bool) -> None:
        self.store.close()
        assert not any(self.store.has(*key) for key in ALL)
        self.open(memory)

    def another_process(self, keys: list[Key]) -> None:
        other = self.another(None)
        for key in keys:
            other.put(*key, rows_of(*key))
        other.close()
        self.put_ever.update(keys)

    def corrupt(self, between_runs: bool, which: int, where: int, flip: int) -> None:
        if between_runs:
            self.store.close()
        for path in self.shards(which):
            content = bytearray(path.read_bytes())
            where = 7919 * where % max(len(content), 1)  # small numbers are tried first: anywhere in the file
            if flip and content:
                content[where] ^= flip
            else:
                content = content[:where]
            new = path.with_name("new")  # as another program would: not the file that may be mapped
            new.write_bytes(content)
            new.replace(path)
        if between_runs:
            self.open(memory=False)

    def delete(self, between_runs: bool, which: int) -> None:
        if between_runs:
            self.store.close()
        for path in self.shards(which):
            path.unlink()
        if between_runs:
            self.open(memory=True)

    def leave_something_unfinished(self) -> None:
        if self.folder is not None:
            (self.root / "k" / "a.part").write_bytes(bytes(50))

    def shards(self, which: int | None = None) -> list[Path]:
        found = sorted(self.root.glob("k/*.activations"))
        return found if which is None or not found else [found[which % len(found)]]


KEYS = st.lists(st.sampled_from(ALL), min_size=1, max_size=8)
PLACES = st.integers(0, 10**4)
PUT = st.tuples(st.just("put"), KEYS)
GET = st.tuples(st.just("get"), KEYS)
ACTIONS = st.one_of(
    PUT,
    PUT,
    GET,
    GET,
    st.tuples(st.just("get"), st.permutations(ALL)),
    st.tuples(st.just("flush")),
    st.tuples(st.just("reopen"), st.booleans()),
    st.tuples(st.just("another_process"), KEYS),
    st.tuples(st.just("corrupt"), st.booleans(), PLACES, PLACES, st.integers(0, 255)),
    st.tuples(st.just("delete"), st.booleans(), PLACES),
    st.tuples(st.just("leave_something_unfinished")),
)


@settings(max_examples=150)
@given(
    memory=st.booleans(),
    folder=st.sampled_from([True, True, True, False]),
    limit=st.sampled_from([10**9, 10**9, 3000, 1500, 300, 0]),
    actions=st.lists(ACTIONS, min_size=5, max_size=30),
)
def test_any_history(memory, folder, limit, actions):
    with tempfile.TemporaryDirectory() as root:
        run = Run(Path(root), memory, folder, limit)
        for name, *arguments in actions:
            getattr(run, name)(*arguments)
            assert sum(path.stat().st_size for path in run.shards()) <= limit
        run.get(ALL)
        run.store.close()
        assert len(run.store.notes()) <= 4
