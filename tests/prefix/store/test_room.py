from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from unfreeze.prefix.store import Room, Tier, choose, measure_room, room

GB = 10**9
FOLDER = Path("cache")
CPU, GPU = torch.device("cpu"), torch.device("cuda:1")


def free(ram: float | None = 16, disk: float | None = 100, gpu: float | None = None) -> Room:
    sizes = (None if size is None else round(size * GB) for size in (gpu, ram, disk))
    return Room(*sizes, FOLDER, CPU if gpu is None else GPU)


@pytest.mark.parametrize(
    ("wanted", "size", "free", "gb", "memory", "on_disk", "limit"),
    [
        ("auto", 3, free(), None, CPU, True, 50),
        ("auto", 8, free(), None, CPU, True, 50),
        ("auto", 8.1, free(), None, None, True, 50),
        ("auto", 50.1, free(), None, None, False, 0),
        ("auto", 3, free(disk=5), None, CPU, False, 8),
        ("auto", 3, free(disk=None), None, CPU, False, 8),
        ("auto", 9, free(disk=None), None, None, False, 0),
        ("auto", 3, free(ram=None), None, None, True, 50),
        ("auto", 3, free(ram=None, disk=None), None, None, False, 0),
        ("auto", 3, free(gpu=6), None, GPU, True, 50),
        ("auto", 3, free(gpu=5), None, CPU, True, 50),
        ("auto", 9, free(gpu=80), None, GPU, True, 50),
        ("auto", 9, free(gpu=80, disk=3), None, GPU, False, 40),
        ("auto", 9, free(gpu=5), None, None, True, 50),
        ("auto", 0, free(), None, CPU, True, 50),
        ("auto", 3, free(), 4, CPU, True, 4),
        ("auto", 5, free(), 4, None, False, 0),
        ("auto", 9, free(gpu=80), 12, GPU, True, 12),
        ("auto", 9, free(), 12, None, True, 12),  # a bound is no reason to take more than half of the RAM
        ("auto", 9, free(), 1000, None, True, 50),
        ("ram", 3, free(), None, CPU, False, 8),
        ("ram", 3, free(gpu=80), None, CPU, False, 8),
        ("ram", 300, free(), None, CPU, False, 8),
        ("ram", 3, free(), 12, CPU, False, 12),
        ("ram", 3, free(ram=None), 12, CPU, False, 12),
        ("disk", 3, free(), None, None, True, 50),
        ("disk", 300, free(gpu=80), None, None, True, 50),
        ("disk", 3, free(ram=None), 80, None, True, 80),
        ("disk", 0.001, free(disk=0.01), None, None, True, 0.005),
    ],
)
def test_where_activations_are_kept(wanted, size, free, gb, memory, on_disk, limit):
    tier = choose(wanted, round(size * GB), free, gb)
    both = memory is not None and on_disk
    in_memory = None
    if both:
        there = (free.gpu if memory == GPU else free.ram) // 2
        in_memory = there if gb is None else min(round(gb * GB), there)
    assert tier == Tier(memory, FOLDER if on_disk else None, round(limit * GB), tier.line, in_memory)


@pytest.mark.parametrize(
    ("wanted", "size", "free", "gb", "line"),
    [
        ("auto", 0.32, free(), None, "in RAM and on disk (cache), about 320 MB"),
        ("auto", 0.32, free(gpu=9), None, "in GPU memory and on disk (cache), about 320 MB"),
        ("auto", 20, free(), None, "on disk (cache), about 20 GB"),
        (
            "auto",
            2,
            free(disk=1),
            None,
            "in RAM, about 2.0 GB; not kept for later runs, as the disk is too small",
        ),
        (
            "auto",
            2,
            free(disk=None),
            None,
            "in RAM, about 2.0 GB; not kept for later runs, as cache cannot be written to",
        ),
        (
            "auto",
            70,
            free(gpu=8),
            None,
            "off, as about 70 GB do not fit into half of what is free (GPU 4.0 GB, RAM 8.0 GB, disk 50 GB); "
            "--cache ram or disk keeps a part",
        ),
        (
            "auto",
            70,
            free(ram=None),
            20,
            "off, as about 70 GB do not fit into --cache_gb 20 (disk 20 GB); --cache disk keeps a part",
        ),
        (
            "auto",
            70,
            free(ram=None, disk=None),
            None,
            "off, as about 70 GB do not fit into half of what is free (nothing)",
        ),
        ("ram", 2, free(), None, "in RAM, about 2.0 GB"),
        ("ram", 20, free(), None, "in RAM, about 20 GB, at most 8.0 GB; the rest is encoded in every epoch"),
        (
            "disk",
            20,
            free(),
            5,
            "on disk (cache), about 20 GB, at most 5.0 GB; the rest is encoded in every epoch",
        ),
    ],
)
def test_a_line_says_so(wanted, size, free, gb, line):
    assert choose(wanted, round(size * GB), free, gb).line == line


@pytest.mark.parametrize(
    ("wanted", "free", "gb", "message"),
    [
        (
            "ram",
            free(ram=0.01),
            None,
            "--cache ram: only 10 MB are free in memory; choose --cache disk or off",
        ),
        (
            "ram",
            free(),
            20,
            "--cache ram --cache_gb 20: only 16 GB are free in memory; choose less, or --cache disk or off",
        ),
        (
            "ram",
            free(ram=None),
            None,
            "--cache ram: this system does not say how much memory is free; give --cache_gb, or choose "
            "--cache disk or off",
        ),
        (
            "disk",
            free(disk=None),
            None,
            "--cache disk: cache cannot be written to; give another --cache_dir, or choose --cache ram "
            "or off",
        ),
        (
            "disk",
            free(disk=0.01),
            None,
            "--cache disk: only 10 MB are free in cache; choose another --cache_dir, or --cache ram or off",
        ),
        (
            "disk",
            free(),
            200.5,
            "--cache disk --cache_gb 200.5: only 100 GB are free in cache; choose less, another --cache_dir, "
            "or --cache ram or off",
        ),
    ],
)
def test_what_was_asked_for_and_cannot_be_is_one_line(wanted, free, gb, message):
    with pytest.raises(ValueError, match="--cache") as caught:
        choose(wanted, GB, free, gb)
    assert str(caught.value) == message


def test_room_is_measured(tmp_path):
    found = measure_room(tmp_path / "a" / "cache")
    assert found.gpu is None
    assert found.ram is None or found.ram > 0
    assert found.disk is not None
    assert found.disk > 0
    assert found.folder == tmp_path / "a" / "cache"
    assert found.folder.is_dir()


def test_what_caches_hold_already_is_room(tmp_path):
    (tmp_path / "k1").mkdir()
    (tmp_path / "k1" / "in_use").touch()
    with open(tmp_path / "k1" / "a.activations", "wb") as file:
        file.truncate(10**13)  # takes no room, and yet counts as held
    found = measure_room(tmp_path).disk
    assert found is not None
    assert found > 10**13


def test_of_a_gpu_the_free_memory_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(room.torch.cuda, "mem_get_info", lambda device: (device.index * 10, 100))
    found = measure_room(tmp_path, "cuda:3")
    assert (found.gpu, found.device) == (30, torch.device("cuda:3"))


def test_a_folder_that_cannot_be_made_or_written_to_is_no_room(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert measure_room(tmp_path / "file" / "cache").disk is None
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,ro", "tmpfs", tmp_path]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    try:
        assert measure_room(tmp_path).disk is None
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
