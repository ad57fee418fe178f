"""The benchmarks' own arithmetic; what they measure is not asserted here."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

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


@pytest.fixture
def refresh(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("refresh")


def refresh_arguments(**changes: object) -> argparse.Namespace:
    usual = {
        "seeds": [0, 1, 2],
        "backbones": ["r3d_micro", "mvit_micro"],
        "strategies": ["early_gradual"],
        "augment": ["light"],
        "epochs": 12,
        "jobs": 1,
        "extra": [],
    }
    return argparse.Namespace(**(usual | changes))


def refresh_results(refresh: ModuleType, jobs: list[Any], lost: dict[float, float]) -> list[dict[str, Any]]:
    """Accuracies that differ from seed to seed; each value of ``lost`` loses so much, give or take 0.01."""
    noise = (-0.01, 0.0, 0.01)
    results = []
    for job in jobs:
        accuracy = 0.5 + 0.1 * job.seed - lost[job.refresh] + noise[job.seed] * (job.refresh < 1)
        metrics = {refresh.METRIC: accuracy}
        seconds = 10 + 50 * job.refresh
        results.append({"last": metrics, "best": metrics, "seconds": seconds})
    return results


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        ({1.0: 0, 0.5: 0, 0.25: 0, 0.1: 0, 0.0: 0}, 0.0),
        ({1.0: 0, 0.5: 0, 0.25: 0, 0.1: 0.2, 0.0: 0.2}, 0.25),
        ({1.0: 0, 0.5: 0.2, 0.25: 0.2, 0.1: 0.2, 0.0: 0.2}, 1.0),
        ({1.0: 0, 0.5: -0.2, 0.25: -0.2, 0.1: 0.2, 0.0: 0.2}, 0.25),  # what wins is not worse
        ({1.0: 0, 0.5: 0.01, 0.25: 0.01, 0.1: 0.02, 0.0: 0.2}, 0.1),  # within what noise may do
    ],
)
def test_the_fastest_refresh_that_is_not_worse(
    refresh: ModuleType, lost: dict[float, float], expected: float
) -> None:
    args = refresh_arguments(backbones=["r3d_micro"])
    jobs = refresh.jobs_of(args)
    rows = refresh.summarise(jobs, refresh_results(refresh, jobs, lost))
    assert list(refresh.fastest(rows).values()) == [expected]


def test_two_backbones_make_a_narrower_interval_together(refresh: ModuleType) -> None:
    args = refresh_arguments()
    jobs = refresh.jobs_of(args)
    rows = refresh.summarise(jobs, refresh_results(refresh, jobs, dict.fromkeys(refresh.REFRESH, 0.0)))
    widths = {row.backbone: row.last_change.high - row.last_change.low for row in rows if row.refresh == 0.25}
    assert widths["r3d_micro"] == pytest.approx(widths["mvit_micro"])
    assert widths["both"] < widths["r3d_micro"]
    lines = refresh.report(rows, args).splitlines()
    assert "| both, 1 | 0.600 ± 0.089 |  |  | 0.600 ± 0.089 |  | 60 ± 0 |" in lines
    assert "- both: the fastest whose last epoch is not distinguishably worse than at 1 is 0" in lines


def test_every_refresh_of_a_seed_is_a_run_of_its_own(refresh: ModuleType) -> None:
    jobs = refresh.jobs_of(refresh_arguments(augment=["light", "standard"], strategies=["early_gradual"]))
    assert len({job.folder for job in jobs}) == len(jobs) == 2 * 2 * 5 * 3
    for job in jobs:
        config, strategy = requested(job.words, "train.py")
        assert config.cache_refresh == job.refresh
        assert config.augment == job.setting.augment
        assert strategy.name == job.setting.strategy


# against tables of Student's t
@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (4, 2.776), (20, 2.086), (21, 2.0796), (30, 2.0423), (120, 1.9799)]
)
def test_quantiles_of_students_t(monkeypatch: pytest.MonkeyPatch, freedom: int, quantile: float) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    assert importlib.import_module("intervals").t_quantile(freedom) == pytest.approx(quantile, abs=6e-4)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.01, -0.01], ""),
        ([-0.1, -0.11, -0.1], "worse"),
        ([0.1, 0.11, 0.1], "better"),
        ([-0.5], ""),
        ([0, 0], ""),
    ],
)
def test_what_an_interval_says(
    monkeypatch: pytest.MonkeyPatch, differences: list[float], verdict: str
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    assert importlib.import_module("intervals").student_interval(differences).verdict == verdict
