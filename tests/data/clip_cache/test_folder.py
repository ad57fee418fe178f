from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from unfreeze.data.clip_cache.folder import Folder

OLD = time.time_ns() - 10**13


def add(folder: Path, name: str, size: int, *, used: int = OLD) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(bytes(size))
    os.utime(path, ns=(used, OLD))
    return path


def prepared(path: Path, limit: int) -> Folder:
    folder = Folder(path, limit)
    folder.prepare()
    return folder


def names(path: Path) -> list[str]:
    return sorted(p.stem for p in path.glob("*.clip"))


def test_room_is_given_until_the_limit(tmp_path):
    path = tmp_path / "a" / "b"
    folder = prepared(path, 100)
    for size, fits in ((60, True), (41, False), (40, True), (1, False)):
        assert folder.reserve(size) == fits
        if fits:
            add(path, f"{size}.clip", size, used=time.time_ns())
    assert names(path) == ["40", "60"]


def test_what_is_reserved_counts_although_nothing_is_written_yet(tmp_path):
    first, second = prepared(tmp_path, 100), prepared(tmp_path, 100)
    assert first.reserve(50)
    assert second.reserve(40)
    assert int((tmp_path / "size").read_text()) == 90
    first.release(50)
    assert int((tmp_path / "size").read_text()) == 40


def test_entries_of_earlier_runs_count_and_make_room_the_least_recently_used_first(tmp_path):
    for i, name in enumerate("cab"):
        add(tmp_path, f"{name}.clip", 30, used=OLD + i)
    folder = prepared(tmp_path, 100)
    assert folder.reserve(10)
    assert names(tmp_path) == ["a", "b", "c"]
    assert folder.reserve(30)
    assert names(tmp_path) == ["a", "b"]


def test_to_use_an_entry_puts_it_off(tmp_path):
    for i, name in enumerate("abc"):
        add(tmp_path, f"{name}.clip", 30, used=OLD + i)
    Folder.touch(tmp_path / "a.clip")
    assert prepared(tmp_path, 100).reserve(40)
    assert names(tmp_path) == ["a", "c"]
    assert (tmp_path / "a.clip").stat().st_mtime_ns == OLD


def test_what_this_run_uses_stays_whatever_else_is_wanted(tmp_path):
    for name in "abc":
        add(tmp_path, f"{name}.clip", 30)
    folder = prepared(tmp_path, 100)
    Folder.touch(tmp_path / "a.clip")
    Folder.touch(tmp_path / "b.clip")
    add(tmp_path, "new.clip", 10, used=time.time_ns())
    assert folder.reserve(20)
    assert names(tmp_path) == ["a", "b", "new"]
    assert not folder.reserve(40)
    assert names(tmp_path) == ["a", "b", "new"]


def test_nothing_is_evicted_in_vain(tmp_path):
    add(tmp_path, "a.clip", 30)
    folder = prepared(tmp_path, 100)
    assert not folder.reserve(101)
    assert names(tmp_path) == ["a"]


def test_a_smaller_limit_shrinks_what_is_there(tmp_path):
    for i in range(10):
        add(tmp_path, f"{i}.clip", 10, used=OLD + i)
    assert prepared(tmp_path, 50).reserve(10)
    assert names(tmp_path) == ["6", "7", "8", "9"]


def test_a_little_more_than_needed_is_evicted_so_that_not_every_entry_needs_a_scan(tmp_path):
    for i in range(100):
        add(tmp_path, f"{i:02}.clip", 10, used=OLD + i)
    folder = prepared(tmp_path, 1000)
    assert folder.reserve(10)
    assert names(tmp_path)[0] == "05"


def test_other_files_are_left_alone(tmp_path):
    add(tmp_path, "notes.txt", 500)
    add(tmp_path, "a.clip", 90)
    assert prepared(tmp_path, 100).reserve(50)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "size"]


def test_what_a_killed_process_left_is_swept_when_it_is_old(tmp_path):
    old = add(tmp_path, "a-1.part", 10)
    new = tmp_path / "b-1.part"
    new.write_bytes(b"written just now")
    prepared(tmp_path, 100)
    assert not old.exists()
    assert new.exists()


def test_a_sum_that_a_killed_process_left_too_large_is_put_right(tmp_path):
    assert prepared(tmp_path, 100).reserve(90)  # and is killed
    assert prepared(tmp_path, 100).reserve(90)
    assert not Folder(tmp_path, 100).reserve(101)
    assert Folder(tmp_path, 100).reserve(90)  # found by the scan


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="Permission"):
        prepared(tmp_path / "a", 100)


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError, match="exists"):
        prepared(tmp_path / "a", 100)
