from __future__ import annotations

import os
from pathlib import Path

import pytest

from unfreeze.data.clip_cache import Expected, Room, choice, choose, measure_room, ram

GB = 10**9
FOLDER = Path("clips")


def room(ram: float | None = 16, disk: float | None = 100) -> Room:
    return Room(*(None if free is None else round(free * GB) for free in (ram, disk)), FOLDER)


@pytest.mark.parametrize(
    ("wanted", "size", "free", "gb", "where", "limit"),
    [
        ("auto", 8, room(), None, "ram", 8),
        ("auto", 8.1, room(), None, "disk", 50),
        ("auto", 50.1, room(), None, "off", 0),
        ("auto", 8, room(ram=None), None, "disk", 50),
        ("auto", 8, room(ram=None, disk=None), None, "off", 0),
        ("auto", 50, room(disk=None), None, "off", 0),
        ("auto", 0, room(), None, "off", 0),
        ("auto", 3, room(), 4, "ram", 4),
        ("auto", 5, room(), 4, "off", 0),
        ("auto", 9, room(), 12, "disk", 12),  # a bound is no reason to take more than half of the RAM
        ("ram", 3, room(), None, "ram", 8),
        ("ram", 300, room(), None, "ram", 8),
        ("ram", 3, room(), 12, "ram", 12),
        ("disk", 3, room(ram=None), None, "disk", 50),
        ("disk", 3, room(), 80, "disk", 80),
        ("off", 3, room(), None, "off", 0),
    ],
)
def test_where_clips_are_kept(wanted, size, free, gb, where, limit):
    choice = choose(wanted, Expected(round(size * GB), 500), free, reads=12, gb=gb)
    assert (choice.where, choice.limit) == (where, limit * GB)
    assert choice.folder == FOLDER


@pytest.mark.parametrize(("wanted", "where"), [("auto", "off"), ("ram", "ram"), ("disk", "disk")])
def test_what_is_read_once_is_not_kept(wanted, where):
    assert choose(wanted, Expected(GB, 500), room(), reads=1).where == where


@pytest.mark.parametrize(
    ("wanted", "expected", "options", "line"),
    [
        ("auto", Expected(2 * GB, 9), {}, "in RAM (/dev/shm), about 2.0 GB of clips, at most 8.0 GB"),
        ("disk", Expected(2 * GB, 9), {}, "on disk (clips), about 2.0 GB of clips, at most 50 GB"),
        (
            "ram",
            Expected(20 * GB, 9),
            {},
            "in RAM (/dev/shm), about 20 GB of clips, at most 8.0 GB; the rest is decoded in every epoch",
        ),
        (
            "disk",
            Expected(20 * GB, 9, 2),
            {},
            "on disk (clips), about 20 GB of clips (2 of 9 have over 2000 frames and are not kept), "
            "at most 50 GB",
        ),
        ("auto", Expected(2 * GB, 9), {"reads": 1}, "off, as no clip is read twice"),
        ("auto", Expected(0, 9, 9), {}, "off, as all clips have over 2000 frames"),
        (
            "auto",
            Expected(70 * GB, 9),
            {},
            "off, as about 70 GB of clips do not fit into half of what is free (RAM 8.0 GB, disk 50 GB); "
            "--clip_cache disk keeps a part of them",
        ),
        (
            "auto",
            Expected(70 * GB, 9),
            {"gb": 20.0},
            "off, as about 70 GB of clips do not fit into --clip_cache_gb 20 (RAM 8.0 GB, disk 20 GB); "
            "--clip_cache disk keeps a part of them",
        ),
        ("off", Expected(GB, 9), {}, "off"),
    ],
)
def test_a_line_says_so(wanted, expected, options, line):
    choice = choose(wanted, expected, room(), **{"reads": 12} | options)
    assert choice.line == f"Clip cache: {line}"


@pytest.mark.parametrize(
    ("wanted", "free", "gb", "message"),
    [
        ("ram", room(ram=None), None, "--clip_cache ram: there is no tmpfs at /dev/shm; choose disk or off"),
        (
            "ram",
            room(ram=0.01),
            None,
            "--clip_cache ram: only 10 MB are free in /dev/shm (a container gets more with --shm-size); "
            "choose --clip_cache disk or off",
        ),
        (
            "ram",
            room(),
            20,
            "--clip_cache ram --clip_cache_gb 20: only 16 GB are free in /dev/shm (a container gets more "
            "with --shm-size); choose less, or --clip_cache disk or off",
        ),
        (
            "disk",
            room(),
            200.5,
            "--clip_cache disk --clip_cache_gb 200.5: only 100 GB are free in clips; choose less, or "
            "--clip_cache ram or off",
        ),
        ("disk", room(disk=None), None, "--clip_cache disk: clips cannot be written to; choose ram or off"),
    ],
)
def test_what_was_asked_for_and_cannot_be_is_one_line(wanted, free, gb, message):
    with pytest.raises(ValueError, match="--clip_cache") as caught:
        choose(wanted, Expected(GB, 9), free, reads=12, gb=gb)
    assert str(caught.value) == message


def test_room_is_measured(tmp_path):
    (tmp_path / "clips").mkdir()
    empty = measure_room(tmp_path / "clips", tmp_path / "no_tmpfs")
    assert empty.ram is None
    assert empty.disk is not None
    assert empty.disk > 0
    assert empty.folder == tmp_path / "clips"
    with open(tmp_path / "clips" / "a.clip", "wb") as file:
        file.truncate(10**13)  # takes no room, and yet counts as held
    full = measure_room(tmp_path / "clips")
    assert full.disk is not None
    assert full.disk > 10**13


def test_what_killed_runs_left_in_ram_takes_no_room(tmp_path, monkeypatch):
    """Or it would keep later runs from RAM, and stay there for ever: only those that use RAM make folders."""
    gone = tmp_path / ram.new_folder(tmp_path).name.replace(str(os.getpid()), "4194999", 1)
    gone.mkdir()
    (gone / "a.clip").write_bytes(bytes(1000))
    seen = []
    monkeypatch.setattr(choice, "_free_ram", lambda tmpfs: seen.append(list(tmpfs.iterdir())))
    measure_room(tmp_path.parent / "clips", tmp_path)
    assert seen == [[]]


@pytest.mark.skipif(not Path("/dev/shm").is_mount(), reason="no tmpfs")
def test_there_is_ram():
    ram = measure_room().ram
    assert ram is not None
    assert ram > 0


def test_a_folder_that_cannot_be_made_is_no_room(tmp_path):
    (tmp_path / "file").write_text("")
    assert measure_room(tmp_path / "file" / "clips").disk is None


def test_the_folder_is_below_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNFREEZE_CACHE", str(tmp_path))
    assert measure_room().folder == tmp_path / "clips"
