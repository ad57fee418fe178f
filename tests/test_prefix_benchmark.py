"""The arithmetic of the benchmark of the prefix, its turns, and that its arms are what they say."""

from __future__ import annotations

import importlib
import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from unfreeze.anatomy import Anatomy, Part
from unfreeze.cli.train import requested
from unfreeze.data import load_manifest
from unfreeze.data.decode import read_frames

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


# --- turns ---


def start(work: Callable[[Any], None], turns: ModuleType, connection: Connection) -> threading.Thread:
    """A run as a thread; its end of the pipe closes with it, as that of a process does."""

    def life() -> None:
        with connection:
            work(turns.Turns(connection))

    thread = threading.Thread(target=life)
    thread.start()
    return thread


def test_runs_work_one_at_a_time_and_who_is_first_changes(module: Callable[[str], ModuleType]) -> None:
    turns = module("turns")
    log: list[tuple[str, str]] = []

    def worker(name: str, epochs: int) -> Callable[[Any], None]:
        def work(mine: Any) -> None:
            mine.begin()
            log.append((name, "in"))
            for _ in range(epochs):
                log.append((name, "out"))
                mine.give_back()
                log.append((name, "in"))
            log.append((name, "out"))
            mine.finish({"epochs": epochs})

        return work

    pipes, threads = {}, []
    for name, epochs in (("a", 2), ("b", 2), ("c", 1)):
        pipes[name], theirs = multiprocessing.Pipe()
        threads.append(start(worker(name, epochs), turns, theirs))
    said: list[tuple[int, str]] = []
    results = turns.take_turns(pipes, lambda round_, name: said.append((round_, name)))
    for thread in threads:
        thread.join()

    order = [name for name, what in log if what == "in"]
    assert "".join(order) == "abcbcaab"
    assert said == [(0, "a"), (0, "b"), (0, "c"), (1, "b"), (1, "c"), (1, "a"), (2, "a"), (2, "b")]
    assert [(name, what) for name, what in log[::2]] == [(name, "in") for name in order]
    assert [(name, what) for name, what in log[1::2]] == [(name, "out") for name in order]
    assert {name: result["epochs"] for name, result in results.items()} == {"a": 2, "b": 2, "c": 1}
    assert {name: len(result["turns"]) for name, result in results.items()} == {"a": 3, "b": 3, "c": 2}


def test_time_stands_still_without_the_turn(
    module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = module("turns")
    now = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])
    ours, theirs = multiprocessing.Pipe()

    def rest() -> None:
        now[0] += 100  # all that happens until the next turn

    mine = turns.Turns(theirs, at_rest=rest)
    for _ in range(3):
        ours.send(turns.GO)
    mine.begin()
    now[0] += 5
    mine.give_back()
    now[0] += 2
    mine.give_back()
    now[0] += 1
    mine.finish({"loss": 0.5})
    for kind in (turns.READY, turns.PAUSED, turns.PAUSED):
        assert ours.recv() == (kind, None)
    assert ours.recv() == (turns.DONE, {"loss": 0.5, "turns": [5, 2, 1]})


def test_a_run_that_dies_is_named(module: Callable[[str], ModuleType]) -> None:
    turns = module("turns")
    pipes, threads = {}, []
    for name, work in (
        ("healthy", lambda mine: (mine.begin(), mine.finish({}))),
        ("ill", lambda mine: mine.begin()),
    ):
        pipes[name], theirs = multiprocessing.Pipe()
        threads.append(start(work, turns, theirs))
    with pytest.raises(turns.BrokenRunError, match="ill"):
        turns.take_turns(pipes)
    for thread in threads:
        thread.join()


# --- arms ---


def test_every_arm_differs_from_naive_in_what_it_is_about(
    module: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    arms = module("arms")
    case = arms.CASES["r3d_18"]
    configs = {}
    for name, arm in arms.ARMS.items():
        words = arms.flags(case, arm, data=tmp_path, folder=tmp_path / name, epochs=3, more=["--seed", "1"])
        config, strategy = requested(words, "train.py")
        assert strategy.name == ("none" if name == "full" else "early_gradual")
        assert not arm.cached or config.cache_refresh == arm.refresh
        assert (config.epochs, config.seed, config.weights) == (3, 1, "none")
        about = (config.cache, config.clip_cache, config.exact)
        configs[name] = about
        assert config.cache_dir == (str(tmp_path / name / "cache") if arm.cached else None)
    assert configs["full"] == configs["naive"] == configs["lightning"] == ("off", "off", True)
    assert configs["clips"] == ("off", "auto", True)
    assert configs["graph"] == ("off", "off", False)
    for refresh in ("refresh1", "refresh0.25", "refresh0.1", "refresh0"):
        assert configs[refresh] == ("auto", "off", False)
    assert configs["exact0"] == ("auto", "off", True)


def test_footage_is_files_and_labels(module: Callable[[str], ModuleType], tmp_path: Path) -> None:
    footage = module("footage")
    manifest = load_manifest(str(footage.write_footage(tmp_path / "clips", train=4, val=2)))
    assert (len(manifest.split("train")), len(manifest.split("val"))) == (4, 2)
    assert set(manifest.tasks) == {"motion"}
    right = read_frames(manifest.split("train")[0].path).numpy().astype(int)
    assert right.shape == (footage.FRAMES, 3, footage.HEIGHT, footage.WIDTH)
    # what was at x is at x - 3 a frame later: the window moves to the right
    inner = right[:, :, :, 16:-16]
    assert np.abs(right[1:, :, :, 13:-19] - inner[:-1]).mean() < np.abs(inner[1:] - inner[:-1]).mean() / 2


def _hold(megabytes: int, ready: Any, done: Any) -> None:
    held = bytearray(b"x") * (megabytes * 2**20)
    ready.set()
    done.wait(60)
    assert held


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads memory as Linux shows it")
def test_of_a_worker_what_is_its_own_counts(module: Callable[[str], ModuleType]) -> None:
    memory = module("usage").Memory()
    memory.sample()
    alone = memory.peak_mib()
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    worker = context.Process(target=_hold, args=(200, ready, done))
    worker.start()
    assert ready.wait(60)
    memory.sample()
    done.set()
    worker.join()
    assert 180 < memory.peak_mib() - alone < 260


# --- the bound ---


def test_the_bounds_of_a_case(module: Callable[[str], ModuleType]) -> None:
    """As is known of r3d_18 without clips for validation: 5.2 with one view, 1 without a cache."""
    prefix, arms = module("prefix"), module("arms")
    case = arms.Case("r3d_18", 10, 0, 4, 20)
    found = prefix.bounds_of(case, ("naive", "full", "graph", "refresh1", "refresh0.25", "refresh0"))
    assert found["naive"] == found["graph"] == 1
    assert found["full"] == pytest.approx(1 / 2.7, rel=0.05)
    assert found["refresh0"] == pytest.approx(5.1, rel=0.03)
    assert found["refresh0"] > found["refresh0.25"] > found["refresh1"] >= 1


# --- the table ---


def test_the_table_of_a_case(module: Callable[[str], ModuleType]) -> None:
    prefix, arms = module("prefix"), module("arms")
    case = arms.Case("r3d_18", 8, 2, 4, 6, {"refresh0": 4.0})
    usage = {"gpu_peak_mib": None, "peak_mib": 1000.0, "disk_bytes": 0}
    results = {
        "full": {"turns": [10, 30, 20, 20], "waited": [1, 1, 1], **usage},
        "naive": {"turns": [10, 20, 10, 10, 10, 10, 10], "waited": [4, 1, 1, 1, 0, 0], **usage},
        "lightning": {"turns": [10, 30, 20, 20, 20, 20, 20], "waited": [0] * 6, **usage},
        "refresh0": {
            "turns": [10, 5, 1, 1, 1, 1, 1],
            "waited": [0] * 6,
            "gpu_peak_mib": 50.0,
            "peak_mib": 1000.0,
            "disk_bytes": 2_000_000,
        },
    }
    bounds = {"full": 0.5, "naive": 1.0, "lightning": 1.0, "refresh0": 5.0}
    measured = [prefix.summarise(arm, case, result, bounds[arm]) for arm, result in results.items()]
    rows = prefix.report(case, measured).splitlines()[2:]
    assert rows == [
        "| full fine-tuning | ≈ 140.0 | 20.00 | 0.57x | 1.00x |  | 0.50x | 114% | 1000 | 4% | 0 |",
        "| naive freezing | 80.0 | 10.00 | 1.00x | 1.75x |  | 1.00x | 100% | 1000 | 10% | 0 |",
        "| Lightning, finetuning-scheduler | 140.0 | 20.00 | 0.57x | 1.00x |  | 1.00x | 57% | 1000 | 0% "
        "| 0 |",
        "| prefix cache, refresh 0 | 20.0 | 1.00 | 4.00x | 7.00x | ≥ 4x | 5.00x | 80% | 50 | 0% | 2 |",
    ]


def test_a_run_that_did_not_pause_is_refused(module: Callable[[str], ModuleType], tmp_path: Path) -> None:
    driver = module("driver")
    run = driver.Run((), tmp_path, peer=False, threads=1, clips=4)
    driver.check(run, {"turns": [1.0, 1.0, 1.0]}, epochs=2)
    with pytest.raises(SystemExit, match="1 turns in 2 epochs"):
        driver.check(run, {"turns": [3.0]}, epochs=2)


# --- the peer ---


def test_the_peer_thaws_the_same_blocks_in_the_same_epochs(module: Callable[[str], ModuleType]) -> None:
    pytest.importorskip("finetuning_scheduler")
    schedule = module("peer").schedule
    parts = [Part(name, (f"{name}.weight",), (), (name,)) for name in ("stem", "one", "two")]
    anatomy = Anatomy((Part("heads.motion", ("heads.motion.weight",), (), ("heads.motion",)),), tuple(parts))
    assert schedule(anatomy, [(), ("two",), ("two",), ("one", "two"), ("one", "two")], lr=0.1) == {
        0: {"params": ["model.heads.motion.weight"], "max_transition_epoch": 1},
        1: {"params": ["model.two.weight"], "lr": 0.1, "max_transition_epoch": 3},
        2: {"params": ["model.one.weight"], "lr": 0.1, "max_transition_epoch": 5},
    }
