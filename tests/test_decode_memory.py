"""The arithmetic of the benchmark of memory, and that it measures at all."""

from __future__ import annotations

import importlib
import mmap
import os
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def decode_memory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("decode_memory")


def test_growth_leaves_the_warm_up_out(decode_memory: ModuleType) -> None:
    assert decode_memory.growth([1, 50, 100, 100, 100, 100, 100, 100, 100, 100]) == 0
    assert decode_memory.growth([1, 50, 100, 100, 100, 100, 100, 100, 110, 110]) == pytest.approx(0.1)


def test_every_process_has_a_series(decode_memory: ModuleType) -> None:
    sizes = [{"parent": 1, "worker 1": 2}, {"parent": 3, "worker 1": 4}]
    assert decode_memory.by_process(sizes) == {"parent": [1, 3], "worker 1": [2, 4]}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory as Linux shows it")
def test_what_is_held_is_seen(decode_memory: ModuleType) -> None:
    before = decode_memory.resident(os.getpid())
    # memory of its own: what an array takes may be left from one that is gone
    with mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        held.write(b"x" * len(held))
        grown = decode_memory.resident(os.getpid()) - before
        assert grown >= 0.9 * len(held)
