"""The benchmarks' own arithmetic; what they measure is not asserted here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from unfreeze.cli.train import requested
from unfreeze.training.config import resolve

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def demo_table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("demo_table")


@pytest.mark.parametrize("epochs", [2, 3, 12])
def test_every_arm_trains_for_the_same_number_of_epochs(demo_table: ModuleType, epochs: int) -> None:
    for flags in demo_table.arms(epochs).values():
        config, strategy = requested(flags, "train.py")
        assert resolve(config, strategy).epochs == epochs


def test_the_table_has_mean_and_spread_per_task(demo_table: ModuleType) -> None:
    jobs = [demo_table.Job("r3d_micro", "head only", seed, ()) for seed in (0, 1)]
    measured = [
        {
            "last": {"balanced_accuracy": 0.5, "motion/balanced_accuracy": value},
            "seconds": 10.0,
            "peak_mib": 300.0,
        }
        for value in (0.4, 0.6)
    ]
    row = demo_table.summarise(jobs, measured).splitlines()[-1]
    assert row == "| r3d_micro, head only | 0.500 ± 0.141 | 0.500 ± 0.000 | 10 ± 0 | 300 ± 0 |"


def test_a_finished_run_is_not_repeated(
    demo_table: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for train.py leaves a run with one epoch, and a line for each time that it was started."""
    (tmp_path / "train.py").write_text(
        "import json, pathlib, sys\n"
        "run = pathlib.Path(sys.argv[sys.argv.index('--run_dir') + 1])\n"
        "run.mkdir()\n"
        "with open(pathlib.Path(__file__).with_name('started'), 'a') as file: file.write('x')\n"
        "row = {'val': {'balanced_accuracy': 0.5, 'motion/balanced_accuracy': 0.5, 'loss': 1.0}}\n"
        "(run / 'metrics.jsonl').write_text(json.dumps(row) + '\\n')\n"
    )
    monkeypatch.setattr(demo_table, "ROOT", tmp_path)
    monkeypatch.setattr(demo_table, "RUNS", tmp_path / "runs")
    job = demo_table.Job("r3d_micro", "scratch", 0, ("--epochs", "1"))
    first = demo_table.measure(job)
    assert first["last"] == {"balanced_accuracy": 0.5, "motion/balanced_accuracy": 0.5}
    assert first["peak_mib"] > 1
    assert demo_table.measure(job) == json.loads(json.dumps(first))
    assert (tmp_path / "started").read_text() == "x"
    demo_table.measure(demo_table.Job("r3d_micro", "scratch", 0, ("--epochs", "2")))
    assert (tmp_path / "started").read_text() == "xx"


def test_the_interval_of_a_median(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    machinery = importlib.import_module("machinery")
    low, middle, high = machinery.interval([0.0, 0.01, 0.02, 0.03, 1.0])
    assert low < middle == 0.02 < high


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("decoding")
    monkeypatch.setattr(module, "SIZE", (64, 48))
    monkeypatch.setattr(module, "FRAMES", 8)
    return module


def test_every_way_to_keep_clips_gives_the_same_bits(decoding: ModuleType, tmp_path: Path) -> None:
    setting = decoding.Setting(clips=3, rounds=1, epochs=2, clip_ms=0.1)
    samples = decoding.write_clips(tmp_path / "clips", setting.clips)
    waits = decoding.data_wait(samples, setting, tmp_path)  # asserts it
    assert all(len(epochs) == 2 for [epochs] in waits.values())
    assert all(0 <= epoch.share <= 1 for [epochs] in waits.values() for epoch in epochs)
    rows = decoding.report({"pyav, 1 worker": [2.0, 4.0]}, waits, setting).splitlines()
    assert rows[2] == "| pyav, 1 worker | 48 | 3.0 | 1.00 |"
    assert [row.split(" | ")[0] for row in rows[6:11]] == [f"| {arm}" for arm in waits]
