"""What it costs in accuracy to show the same views of clips again: `--cache_refresh` over paired seeds.

    python benchmarks/refresh.py --jobs 2

The demo data, both small backbones, the same seeds for every setting. Every run is a process of its own with
one thread, as in `demo_table.py`; finished runs are kept in benchmarks/runs/refresh/ and not repeated.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from demo_table import BACKBONES, METRIC, Job, measure, spread
from intervals import Interval, student_interval
from reporting import ROOT, footer, table, write

RUNS = ROOT / "benchmarks" / "runs" / "refresh"
REFRESH = (1.0, 0.5, 0.25, 0.1, 0.0)  # the first is what the others are compared with
BOTH = "both"


@dataclass(frozen=True)
class Setting:
    """What is held fast while ``--cache_refresh`` changes."""

    augment: str
    strategy: str

    @property
    def label(self) -> str:
        return f"{self.strategy}, --augment {self.augment}"


@dataclass(frozen=True)
class RefreshJob(Job):
    """One run, in a folder of its own."""

    setting: Setting
    refresh: float

    @property
    def folder(self) -> Path:
        place = RUNS / self.setting.augment / self.setting.strategy / self.backbone
        return place / self.arm.replace(" ", "_") / f"seed{self.seed}"


@dataclass(frozen=True)
class Row:
    """One value of ``--cache_refresh`` in one setting, on one backbone or on both.

    Attributes:
        last, best: balanced accuracy of the last and of the best epoch, a value per run.
        last_change, best_change: what they lose against the first value, paired by backbone and seed.
        seconds: processor time of the whole process, a value per run.
    """

    setting: Setting
    backbone: str
    refresh: float
    last: Sequence[float]
    best: Sequence[float]
    last_change: Interval
    best_change: Interval
    seconds: Sequence[float]


def main() -> None:
    args = _arguments()
    jobs = jobs_of(args)
    render = "from unfreeze.data.demo import ensure_demo; ensure_demo()"
    subprocess.run([sys.executable, "-c", render], check=True)  # so that no run pays for it
    with ThreadPoolExecutor(args.jobs) as pool:
        measured = list(pool.map(measure, jobs))
    rows = summarise(jobs, measured)
    content = {
        "setting": vars(args),
        "runs": [
            {
                "backbone": job.backbone,
                "augment": job.setting.augment,
                "strategy": job.setting.strategy,
                "refresh": job.refresh,
                "seed": job.seed,
                **found,
            }
            for job, found in zip(jobs, measured, strict=True)
        ],
        "fastest": {f"{s.label}, {b}": value for (s, b), value in fastest(rows).items()},
    }
    write("refresh", content, report(rows, args))


def jobs_of(args: argparse.Namespace) -> list[RefreshJob]:
    """Seeds on the outside, so that what a machine goes through hits all settings alike."""
    return [
        RefreshJob(
            backbone,
            f"refresh {refresh:g}",
            seed,
            (
                *("--freezing_strategy", strategy, "--epochs", str(args.epochs), "--augment", augment),
                *("--cache", "ram", "--cache_refresh", f"{refresh:g}", *args.extra),
            ),
            Setting(augment, strategy),
            refresh,
        )
        for seed, augment, strategy, backbone, refresh in product(
            args.seeds, args.augment, args.strategies, args.backbones, REFRESH
        )
    ]


def summarise(jobs: Sequence[RefreshJob], measured: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row per setting, backbone and value; with more than one backbone also over all of them."""
    found = {
        (job.setting, job.backbone, job.refresh, job.seed): result
        for job, result in zip(jobs, measured, strict=True)
    }
    settings, backbones, values, seeds = (list(dict.fromkeys(keys)) for keys in zip(*found, strict=True))
    groups = [(backbone, [backbone]) for backbone in backbones]
    if len(backbones) > 1:
        groups.append((BOTH, backbones))
    rows = []
    for setting, (label, members), value in product(settings, groups, values):
        pairs = list(product(members, seeds))
        runs = [found[setting, backbone, value, seed] for backbone, seed in pairs]
        base = [found[setting, backbone, values[0], seed] for backbone, seed in pairs]
        last, best = ([run[which][METRIC] for run in runs] for which in ("last", "best"))
        changes = [
            student_interval([a - run[which][METRIC] for a, run in zip(of_runs, base, strict=True)])
            for which, of_runs in (("last", last), ("best", best))
        ]
        seconds = [run["seconds"] for run in runs]
        rows.append(Row(setting, label, value, last, best, *changes, seconds))
    return rows


def fastest(rows: Sequence[Row]) -> dict[tuple[Setting, str], float]:
    """Per setting and backbone the value with the least processor time whose last epoch is not worse.

    "Not worse" is that the interval of its change reaches 0; how wide that is, is part of the answer.
    """
    groups: dict[tuple[Setting, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.setting, row.backbone), []).append(row)
    return {
        key: min(
            (row for row in of_key if row.last_change.verdict != "worse"),
            key=lambda row: statistics.fmean(row.seconds),
        ).refresh
        for key, of_key in groups.items()
    }


def report(rows: Sequence[Row], args: argparse.Namespace) -> str:
    """A table per setting, the losing values included, and what follows from it."""
    chosen, lines = fastest(rows), []
    header = ["refresh", "last epoch", "against 1", "", "best epoch", "against 1", "CPU s"]
    for setting in dict.fromkeys(row.setting for row in rows):
        cells = [
            [
                f"{row.backbone}, {row.refresh:g}",
                spread(row.last, 3),
                _change(row, row.last_change),
                row.last_change.verdict,
                spread(row.best, 3),
                _change(row, row.best_change),
                spread(row.seconds, 0),
            ]
            for row in rows
            if row.setting == setting
        ]
        lines += [f"{setting.label}:", "", table(header, cells), ""]
        lines += [
            f"- {backbone}: the fastest whose last epoch is not distinguishably worse than at 1 is {value:g}"
            for (of, backbone), value in chosen.items()
            if of == setting
        ]
        lines.append("")
    note = (
        f"Validation {METRIC.replace('_', ' ')}, mean over tasks, on the demo data, {args.epochs} epochs; "
        f"mean ± standard deviation over {len(args.seeds)} seeds, one thread a run, {args.jobs} at a time. "
        "Changes are paired by backbone and seed, with the 95 % interval of Student's t; no correction for "
        f"looking at several values. {footer()}"
    )
    return "\n".join([*lines, note])


def _change(row: Row, change: Interval) -> str:
    return "" if row.refresh == REFRESH[0] else change.text()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="default: 0 to 4")
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--strategies", nargs="+", default=["early_gradual"], help="default: early_gradual")
    parser.add_argument("--augment", nargs="+", default=["light"], help="presets (default: light)")
    parser.add_argument("--epochs", type=int, default=12, help="of every run (default: 12)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each (default: 1)")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="more flags for every run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
