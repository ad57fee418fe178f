from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from unfreeze.prefix.store import ActivationStore, Spec, Stats, back, folder
from unfreeze.prefix.store.front import Front

CPU = torch.device("cpu")
ALL = [(index, 1) for index in range(8)]
TIERS = [
    pytest.param({"memory": CPU, "folder": None}, id="memory"),
    pytest.param({"memory": None}, id="disk"),
    pytest.param({"memory": CPU}, id="both"),
]
ROW = 3 * 2 * 2 + 5 * 4  # bytes


def shards(tmp_path: Path, key: str = "k1") -> list[Path]:
    return sorted((tmp_path / "cache" / key).glob("*.activations"))


@pytest.mark.parametrize("tiers", TIERS)
@pytest.mark.parametrize(
    "rows", [(1,) * 8, (3,) * 8, (1, 2, 3, 4, 1, 1, 5, 2)], ids=["one", "three", "various"]
)
def test_what_is_read_is_what_was_put(open_store, fill, check, tiers, rows):
    store = open_store(rows, **tiers)
    assert not any(store.has(*key) for key in ALL)
    fill(store, ALL[:5], rows)
    check(store, ALL[:5], rows)
    check(store, [(3, 1), (0, 1), (3, 1)], rows)
    assert not store.has(5, 1)
    assert not store.has(0, 2)
    fill(store, ALL, rows)
    store.flush()
    check(store, ALL[::-1], rows)
    assert [len(leaf) for leaf in store.get([])] == [0, 0]
    store.close()


@pytest.mark.parametrize("tiers", TIERS)
@pytest.mark.parametrize(
    "spec",
    [
        Spec(((),), (torch.float64,)),
        Spec(((2, 3, 4), (7,), ()), (torch.float16, torch.int64, torch.bool)),
        Spec(((1,), (3, 1)), (torch.uint8, torch.bfloat16)),
    ],
    ids=["number", "three", "odd"],
)
def test_leaves_of_all_kinds(open_store, fill, check, tiers, spec):
    rows = [2, 1, 3] * 3
    store = open_store(rows, spec, **tiers)
    fill(store, ALL, rows, spec)
    check(store, ALL, rows, spec)
    store.close()
    if tiers.get("folder", True):
        again = open_store(rows, spec, **tiers)
        check(again, ALL[::-1], rows, spec)
        again.close()


@pytest.mark.parametrize("tiers", TIERS)
def test_rows_are_copied_in_and_out(open_store, check, tiers):
    store = open_store(**tiers)
    from_caller = [torch.zeros(1, 3, 2, dtype=torch.bfloat16, requires_grad=True), torch.zeros(1, 5)]
    store.put(0, 1, from_caller)
    with torch.no_grad():
        for leaf in from_caller:
            leaf += 1
    for _ in range(2):
        for leaf in store.get([(0, 1)]):
            assert not leaf.requires_grad
            assert leaf.eq(0).all()
            leaf += 1
    store.flush()
    assert all(leaf.eq(0).all() for leaf in store.get([(0, 1)]))
    store.close()


@pytest.mark.parametrize("tiers", TIERS)
def test_rows_in_any_order_of_memory(open_store, tiers):
    store = open_store(**tiers)
    leaf = torch.arange(6, dtype=torch.bfloat16).view(1, 2, 3).transpose(1, 2)
    store.put(0, 1, (leaf, torch.arange(10.0)[None, ::2]))
    a, b = store.get([(0, 1)])
    assert torch.equal(a, leaf)
    assert b.tolist() == [[0, 2, 4, 6, 8]]
    store.close()


@pytest.mark.parametrize("tiers", TIERS)
def test_what_is_not_there_is_named(open_store, fill, tiers):
    store = open_store(**tiers)
    fill(store, ALL[:3])
    with pytest.raises(KeyError, match="sample 2, version 7 is not in the cache"):
        store.get([(1, 1), (2, 7)])
    store.close()


def test_memory_has_the_newest_version_and_the_disk_has_all(open_store, fill, check):
    for memory in (CPU, None):
        store = open_store(memory=memory, key=f"k-{memory}")
        fill(store, [(0, 1), (0, 3), (0, 2), (1, 1)])
        check(store, [(0, 2), (1, 1), (0, 1), (0, 3)])
        store.close()
    store = open_store(memory=CPU, folder=None)
    fill(store, [(0, 1), (0, 3), (0, 2), (1, 1)])
    check(store, [(1, 1), (0, 3)])
    assert not store.has(0, 1)
    assert not store.has(0, 2)
    store.close()


@pytest.mark.parametrize("memory", [CPU, None])
def test_a_later_run_starts_warm(open_store, fill, check, memory):
    store = open_store()
    fill(store, ALL)
    store.close()
    assert not store.has(0, 1)
    assert store.stats().written_bytes > 8 * ROW
    again = open_store(memory=memory)
    assert again.stats() == Stats()
    check(again, ALL)
    fill(again, ALL)
    again.flush()
    stats = again.stats()
    assert (stats.hits, stats.misses, stats.written_bytes) == (8, 8, 0)
    again.close()


def test_what_is_read_from_disk_comes_to_memory(open_store, fill, check, tmp_path):
    store = open_store()
    fill(store, ALL)
    store.close()
    again = open_store(memory=CPU)
    assert again.stats().memory_bytes == 0
    check(again, ALL[:4])
    assert again.stats().memory_bytes == 4 * ROW
    assert again._back is not None
    again._back._index.clear()
    check(again, ALL[3::-1])
    again.close()


def test_a_batch_of_both_tiers_and_several_shards(open_store, fill, check):
    rows = (2, 1, 3, 1, 2, 1, 1, 4)
    store = open_store(rows, memory=CPU)
    store._front = Front(store._rows, store._spec, CPU, 5 * ROW)
    for key in ALL:
        fill(store, [key], rows)
        store.flush()
    assert store.stats().memory_bytes == 5 * ROW  # samples 0, 1, 3 and 5
    check(store, [(i, 1) for i in (7, 0, 3, 2, 6, 1, 1, 5, 4)], rows)
    store.close()
    again = open_store(rows, memory=CPU)
    check(again, [(7, 1), (3, 1)], rows)
    check(again, [(i, 1) for i in (7, 0, 3, 2, 6, 1, 1, 5, 4)], rows)
    again.close()


def test_another_key_is_never_read(open_store, fill, tmp_path):
    store = open_store()
    fill(store, ALL)
    store.close()
    other = open_store(key="k2")
    assert not other.has(0, 1)
    [path] = shards(tmp_path)
    (tmp_path / "cache/k2" / path.name).write_bytes(path.read_bytes())
    other.flush()
    assert not other.has(0, 1)
    other.close()
    assert len(shards(tmp_path, "k2")) == 1


@pytest.mark.parametrize(
    ("rows", "spec"),
    [
        ((1,) * 8, Spec(((3, 2), (5,)), (torch.float16, torch.float32))),
        ((1,) * 8, Spec(((2, 3), (5,)), (torch.bfloat16, torch.float32))),
        ((1,) * 7, None),
        ((2,) * 8, None),
    ],
    ids=["dtype", "shape", "samples", "rows"],
)
def test_rows_of_another_kind_are_never_read(open_store, fill, rows, spec):
    """The key should tell, and this is what holds where it does not."""
    store = open_store()
    fill(store, ALL)
    store.close()
    other = open_store(rows, **({} if spec is None else {"spec": spec}))
    assert not any(other.has(index, 1) for index in range(7))
    other.close()


@pytest.mark.parametrize("damage", ["torn", "flipped", "flipped header", "emptied", "zeroed", "gone"])
@pytest.mark.parametrize("memory", [CPU, None])
def test_a_damaged_shard_is_removed_and_its_samples_are_missing(
    open_store, fill, check, tmp_path, damage, memory
):
    store = open_store()
    fill(store, ALL[:4])
    store.flush()
    [path] = shards(tmp_path)
    fill(store, ALL[4:])
    store.close()
    content = bytearray(path.read_bytes())
    if damage.startswith("flipped"):
        content[60 if damage.endswith("header") else -70] ^= 1
    altered = {"torn": content[:-100], "emptied": b"", "zeroed": bytes(len(content))}.get(damage, content)
    path.write_bytes(altered)
    again = open_store(memory=memory)
    if damage == "gone":
        path.unlink()
    assert [again.has(*key) for key in ALL] == [False] * 4 + [True] * 4
    with pytest.raises(KeyError):
        again.get(ALL)
    assert not path.exists()
    line = (
        f"Prefix cache: damaged files were removed from {tmp_path / 'cache'}; their clips are encoded again"
    )
    assert again.notes() == [line] * (damage != "gone")
    assert again.notes() == []
    fill(again, ALL[:4])
    check(again, ALL)
    again.close()
    last = open_store()
    check(last, ALL)
    last.close()


def test_of_a_sample_in_two_shards_the_sound_one_is_read(open_store, fill, check, tmp_path):
    first, second = open_store(), open_store()
    for store in (first, second):
        fill(store, ALL)
        store.close()
    path = shards(tmp_path)[0]
    content = bytearray(path.read_bytes())
    content[-70] ^= 1
    path.write_bytes(content)
    again = open_store()
    check(again, ALL)
    assert len(shards(tmp_path)) == 1
    again.close()


def test_a_shard_is_compared_with_its_checksum_once(open_store, fill, monkeypatch):
    store = open_store()
    fill(store, ALL)
    store.close()
    checked = []
    crc = back.shard.zlib.crc32
    monkeypatch.setattr(
        back.shard.zlib, "crc32", lambda data, *more: checked.append(len(data)) or crc(data, *more)
    )
    again = open_store()
    before = len(checked)
    assert again.has(0, 1)
    assert len(checked) == before + 1
    for key in ALL:
        assert again.has(*key)
        again.get([key])
    assert len(checked) == before + 1
    again.close()


def test_a_shard_that_is_removed_stays_readable_where_it_is_in_use(open_store, fill, check, tmp_path):
    store = open_store()
    fill(store, ALL)
    store.flush()
    for path in shards(tmp_path):
        path.unlink()
    check(store, ALL)
    store.close()


def test_no_file_stays_open(open_store, fill, check):
    store = open_store()
    before = len(os.listdir("/proc/self/fd"))
    for key in ALL:
        fill(store, [key])
        store.flush()
    check(store, ALL)
    assert len(os.listdir("/proc/self/fd")) == before
    store.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1
    store.close()


def test_full_buffers_are_written_in_the_background(open_store, fill, check, tmp_path, monkeypatch):
    monkeypatch.setattr(back, "SHARD_BYTES", 3 * ROW)
    before = set(threading.enumerate())
    store = open_store()
    fill(store, ALL)
    deadline = time.time() + 30
    while len(shards(tmp_path)) < 2 and time.time() < deadline:
        time.sleep(0.01)
    assert len(shards(tmp_path)) == 2
    check(store, ALL)
    store.close()
    assert len(shards(tmp_path)) == 3
    assert set(threading.enumerate()) <= before


def test_a_slow_disk_is_waited_for(open_store, fill, check, monkeypatch):
    monkeypatch.setattr(back, "SHARD_BYTES", ROW)
    go, write, most = threading.Semaphore(0), folder.Folder.write, 0

    def slow(self, parts):
        go.acquire()
        return write(self, parts)

    monkeypatch.setattr(folder.Folder, "write", slow)
    store = open_store()

    def put() -> None:
        for key in ALL:
            fill(store, [key])
            done.append(key)

    done: list = []
    thread = threading.Thread(target=put)
    thread.start()
    for written in range(len(ALL)):
        time.sleep(0.03)
        most = max(most, len(done) - written)
        go.release()
    thread.join(30)
    assert 1 <= most <= 3
    check(store, ALL)
    store.close()


def failing(number: int) -> Callable[..., None]:
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fails


@pytest.mark.parametrize("function", ["replace", "truncate", "open"])
@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "no space left on device"),
        (errno.EROFS, "read-only file system"),
        (errno.EDQUOT, "disk quota exceeded"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_when_writing_fails_training_goes_on_with_one_note(
    open_store, fill, check, tmp_path, monkeypatch, number, reason, function
):
    monkeypatch.setattr(back, "SHARD_BYTES", ROW)
    store = open_store()
    fill(store, ALL[:2])
    store.flush()
    monkeypatch.setattr(os, function, failing(number))
    fill(store, ALL[2:])
    store.flush()
    kept = [key for key in ALL if store.has(*key)]
    assert kept[:2] == ALL[:2]
    assert 3 <= len(kept) <= 6  # a buffer that cannot be written stays, and nothing more comes
    check(store, kept)
    monkeypatch.undo()
    fill(store, ALL)
    check(store, kept)
    store.close()
    assert store.notes() == [
        f"Prefix cache: {tmp_path / 'cache'} cannot be written to any more ({reason}); clips that are not in "
        "it are encoded in every epoch"
    ]
    assert store.notes() == []
    assert len(shards(tmp_path)) == 2
    assert list((tmp_path / "cache/k1").glob("*.part")) == []


def test_whatever_goes_wrong_in_the_background_is_a_note(open_store, fill, check, monkeypatch):
    def fails(*_):
        raise MemoryError("no memory for a shard")

    monkeypatch.setattr(back.shard, "pack", fails)
    store = open_store(memory=CPU)
    fill(store, ALL)
    store.flush()
    check(store, ALL)
    [line] = store.notes()
    assert "(no memory for a shard); this run goes on from memory, and later ones encode" in line
    store.close()


def test_a_folder_that_vanishes_is_a_note_too(open_store, fill, check, tmp_path):
    for memory in (CPU, None):
        store = open_store(memory=memory)
        fill(store, ALL[:4])
        store.flush()
        subprocess.run(["rm", "-r", tmp_path / "cache"], check=True)
        fill(store, ALL[4:])
        store.flush()
        check(store, ALL)
        [line] = store.notes()
        assert "cannot be written to any more (no such file or directory)" in line
        store.close()


def test_a_folder_that_cannot_be_made(open_store, fill, check, tmp_path):
    (tmp_path / "file").write_text("")
    store = open_store(folder=tmp_path / "file" / "cache", memory=CPU)
    fill(store, ALL)
    check(store, ALL)
    [line] = store.notes()
    assert "(not a directory); this run goes on from memory" in line
    store.close()
    store = open_store(folder=tmp_path / "file" / "cache")
    fill(store, ALL)
    assert not store.has(0, 1)
    store.close()


@pytest.fixture
def mounted(tmp_path):
    """A file system of 64 KB, as far as this user may have one."""
    path = tmp_path / "mounted"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_in_earnest(open_store, fill, check, mounted):
    spec = Spec(((4096,),), (torch.float32,))
    store = open_store(spec=spec, folder=mounted / "cache")
    for key in ALL:
        fill(store, [key], spec=spec)
        store.flush()
    kept = [key for key in ALL if store.has(*key)]
    assert 2 <= len(kept) <= 4
    check(store, kept, spec=spec)
    assert "no space left" in store.notes()[0]
    assert list(mounted.rglob("*.part")) == []
    store.close()
    again = open_store(spec=spec, folder=mounted / "cache")
    check(again, kept[:-1], spec=spec)
    again.close()


def test_a_folder_that_may_only_be_read(open_store, fill, check, mounted):
    store = open_store(folder=mounted / "cache")
    fill(store, ALL[:4])
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    again = open_store(folder=mounted / "cache")
    fill(again, ALL)
    check(again, ALL[:4])
    assert not again.has(4, 1)
    assert "(read-only file system)" in again.notes()[0]
    again.close()


def test_a_full_cache_keeps_what_it_has(open_store, fill, check, tmp_path):
    size = 2600
    store = open_store(limit=size, memory=CPU)
    fill(store, [(index, version) for version in range(1, 20) for index in range(8)])
    store.flush()
    check(store, [(index, 19) for index in range(8)])
    assert sum(path.stat().st_size for path in shards(tmp_path)) <= size
    assert store.stats().written_bytes > size / 2
    assert store.notes() == [
        f"Prefix cache: {tmp_path / 'cache'} is full with 2.6 kB (--cache_gb); this run goes on from memory, "
        "and later ones encode what is missing"
    ]
    fill(store, [(index, 20) for index in range(8)])
    check(store, [(index, 20) for index in range(8)])
    assert store.notes() == []
    store.close()


@pytest.mark.parametrize("limit", [0, 1, ROW - 1])
@pytest.mark.parametrize("tiers", TIERS)
def test_a_limit_smaller_than_a_sample(open_store, fill, check, tiers, limit, tmp_path):
    store = open_store(limit=limit, **tiers)
    fill(store, ALL)
    store.flush()
    kept = [key for key in ALL if store.has(*key)]
    assert len(kept) <= 4
    check(store, kept)
    assert shards(tmp_path) == []
    assert "full with" in store.notes()[0]
    store.close()


def test_memory_keeps_what_fits_and_the_newest_of_it(open_store, fill, check):
    rows = (2, 2, 2, 1, 2, 1, 1, 1)
    store = open_store(rows, memory=CPU, folder=None, limit=6 * ROW)
    fill(store, ALL, rows)
    kept = [(0, 1), (1, 1), (2, 1)]
    assert [key for key in ALL if store.has(*key)] == kept
    check(store, kept, rows)
    fill(store, [(1, 2), (4, 2)], rows)
    check(store, [(0, 1), (1, 2), (2, 1)], rows)
    assert store.stats() == Stats(
        hits=6,
        misses=10,
        rows=8,
        memory_bytes=6 * ROW,
        written_bytes=0,
        read_seconds=store.stats().read_seconds,
        put_seconds=store.stats().put_seconds,
    )
    assert store.notes() == [
        "Prefix cache: memory is full with 192 bytes (--cache_gb); clips that are not in it are encoded in "
        "every epoch"
    ]
    store.close()


def test_memory_that_cannot_be_had(open_store, fill, check):
    spec = Spec(((2**40,),), (torch.float32,))
    store = open_store(spec=spec, memory=CPU, folder=None, limit=2**60)
    assert not store.has(0, 1)
    [line] = store.notes()
    assert line.startswith("Prefix cache: no memory for it (")
    assert line.endswith("; clips are encoded in every epoch")
    store.close()


def test_caches_of_other_keys_make_room(open_store, fill, check, tmp_path):
    for number, key in enumerate(("old", "new", "held")):
        store = open_store(key=key)
        fill(store, ALL)
        store.close()
        os.utime(tmp_path / "cache" / key / "in_use", (number, number))
    size = shards(tmp_path, "old")[0].stat().st_size
    (tmp_path / "cache" / "theirs").mkdir()
    (tmp_path / "cache" / "theirs" / "x.activations").write_bytes(bytes(10))
    holder = open_store(key="held")
    store = open_store(limit=int(3.5 * size))
    fill(store, ALL)
    store.flush()
    assert not (tmp_path / "cache" / "old").exists()
    assert len(shards(tmp_path, "new")) == 1
    fill(store, [(index, 2) for index in range(8)])
    store.flush()
    assert not (tmp_path / "cache" / "new").exists()
    assert store.notes() == []
    fill(store, [(index, version) for index in range(8) for version in range(3, 9)])
    store.flush()
    assert "full with" in store.notes()[0]
    assert len(shards(tmp_path, "held")) == 1
    check(holder, ALL)
    assert len(shards(tmp_path, "theirs")) == 1
    holder.close()
    store.close()


def test_it_may_be_read_while_it_is_filled(open_store, fill, check, monkeypatch):
    monkeypatch.setattr(back, "SHARD_BYTES", 3 * ROW)
    store = open_store((1,) * 200, memory=CPU)
    there: list[tuple[int, int]] = []
    failed: list[BaseException] = []

    def read() -> None:
        try:
            while len(there) < 600:
                keys = there[-7:]
                keys = [key for key in keys if store.has(*key)]
                check(store, keys, (1,) * 200)
        except BaseException as error:
            failed.append(error)

    fill(store, [(0, 1)], (1,) * 200)
    there.append((0, 1))
    reader = threading.Thread(target=read)
    reader.start()
    for version in (1, 2, 3):
        for index in range(200):
            fill(store, [(index, version)], (1,) * 200)
            there.append((index, version))
    reader.join(60)
    assert failed == []
    store.close()


class Asks(Dataset):
    def __init__(self, store: ActivationStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> bool:
        self.store.put(index, 1, [torch.zeros(1, 3, 2, dtype=torch.bfloat16), torch.zeros(1, 5)])
        self.store.flush()
        return self.store.has(index, 1)


def test_in_a_worker_it_is_empty_and_its_end_does_no_harm(open_store, fill, check, tmp_path):
    store = open_store(memory=CPU)
    fill(store, ALL[:4])
    loader = DataLoader(Asks(store), batch_size=8, num_workers=1, multiprocessing_context="fork")
    assert [batch.tolist() for batch in loader] == [[False] * 8]
    other = open_store(key="k2", limit=1)
    fill(other, ALL)
    other.close()
    fill(store, ALL[4:])
    check(store, ALL)
    store.close()
    assert len(shards(tmp_path)) == 1


def _close(store: ActivationStore) -> None:
    store.notes()
    store.stats()
    store.close()


def test_a_child_that_closes_it_does_not_let_go_of_the_folder(open_store, fill, tmp_path):
    store = open_store()
    fill(store, ALL)
    store.flush()
    child = multiprocessing.get_context("fork").Process(target=_close, args=(store,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    other = open_store(key="k2", limit=1000)
    fill(other, [(index, version) for index in range(8) for version in range(1, 5)])
    other.close()
    assert len(shards(tmp_path)) == 1
    store.close()


def test_a_copy_by_pickle_is_empty(open_store, fill, check):
    store = open_store(memory=CPU)
    fill(store, ALL)
    copy = pickle.loads(pickle.dumps(store))
    fill(copy, ALL)
    assert not copy.has(0, 1)
    copy.close()
    check(store, ALL)
    store.close()


def in_another_process(work: Callable[[], None]) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


@pytest.mark.parametrize("limit", [10**9, 15_000])
def test_two_runs_that_fill_it_at_once(open_store, fill, check, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(back, "SHARD_BYTES", 50 * ROW)
    count, most = 500, limit + 4000
    start = time.time() + 0.5

    def run(turn: int) -> None:
        store = open_store((1,) * count, limit=limit)
        time.sleep(max(start - time.time(), 0))
        for n in range(count):
            key = (turn * count // 2 + n) % count, 1
            if not store.has(*key):
                fill(store, [key], (1,) * count)
            if store.has(*key):
                check(store, [key], (1,) * count)
            if n % 50 == 0:
                store.flush()
        store.close()

    runs = [in_another_process(lambda turn=turn: run(turn)) for turn in (0, 1)]
    while any(process.is_alive() for process in runs):
        assert folder.held(tmp_path / "cache") <= most
        time.sleep(0.002)
    assert [process.exitcode for process in runs] == [0, 0]
    assert list((tmp_path / "cache/k1").glob("*.part")) == []
    store = open_store((1,) * count)
    kept = [(index, 1) for index in range(count) if store.has(index, 1)]
    assert len(kept) == count if limit > 10**6 else 100 < len(kept) < count
    check(store, kept, (1,) * count)
    store.close()


def test_a_run_that_is_killed_while_it_fills_harms_no_later_one(
    open_store, fill, check, tmp_path, monkeypatch
):
    monkeypatch.setattr(back, "SHARD_BYTES", 200_000)
    spec, rows = Spec(((512,),), (torch.float32,)), (5,) * 8

    def run() -> None:
        store = open_store(rows, spec)
        for version in range(1, 10**6):
            fill(store, [(index, version) for index in range(8)], rows, spec)

    for round_, wait in enumerate((0.0, 0.02, 0.05, 0.1, 0.15)):
        process = in_another_process(run)
        deadline = time.time() + 30
        while not shards(tmp_path)[round_:] and time.time() < deadline:
            time.sleep(0.001)
        time.sleep(wait)
        process.kill()
        process.join()
        store = open_store(rows, spec)
        assert list((tmp_path / "cache/k1").glob("*.part")) == []
        keys = sorted(store._back._index)
        assert len(keys) >= 10
        check(store, keys, rows, spec)
        assert store.notes() == []
        store.close()


def test_a_writer_that_is_killed_half_way_leaves_what_the_next_run_sweeps(open_store, fill, check, tmp_path):
    """And nobody sweeps what is being written."""
    context = multiprocessing.get_context("fork")
    half, sides = context.Event(), []

    def run() -> None:
        def stops(*_: object) -> None:
            half.set()
            time.sleep(60)

        os.replace = stops
        store = open_store()
        fill(store, ALL)
        store.flush()

    process = in_another_process(run)
    assert half.wait(30)
    [part] = (tmp_path / "cache/k1").glob("*.part")
    assert part.stat().st_size > 8 * ROW
    for alive in (True, False):
        if not alive:
            process.kill()
            process.join()
        store = open_store(key="k2")
        sides.append(part.exists())
        assert folder.held(tmp_path / "cache") == (part.stat().st_size if alive else 0)
        store.close()
    assert sides == [True, False]
    store = open_store()
    assert not store.has(0, 1)
    fill(store, ALL)
    check(store, ALL)
    store.close()
