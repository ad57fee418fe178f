"""The demo data under every strategy, over seeds and both small backbones: quality, time, memory.

    python benchmarks/demo_table.py --seeds 0 1 2 --jobs 2

Every run is a process of its own (`python train.py …`, one thread, decoding in the process itself), so that
its processor time and peak memory are its own; the time depends little on what else the machine does.
Finished runs are kept in benchmarks/runs/ and not repeated; delete the folder to start afresh.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reporting import ROOT, footer, table, write

RUNS = ROOT / "benchmarks" / "runs" / "demo_table"
BACKBONES = ("r3d_micro", "mvit_micro")
METRIC = "balanced_accuracy"


def arms(epochs: int) -> dict[str, list[str]]:
    """The flags of each row of the table, all with the same number of epochs."""
    frozen = max(1, epochs // 4)
    # strategies are compared as they are by themselves: every clip is drawn anew in every epoch
    length = ["--epochs", str(epochs), "--cache", "off", "--exact"]
    phases = ["--phase1_epochs", str(frozen), "--phase2_epochs", str(epochs - frozen)]
    return {
        "scratch": ["--weights", "none", "--freezing_strategy", "none", *length],
        "head only": ["--freezing_strategy", "head_only", *length],
        "full fine-tuning": ["--freezing_strategy", "none", *length],
        "early_gradual": ["--freezing_strategy", "early_gradual", *length],
        "adaptive": ["--freezing_strategy", "adaptive", *length],
        "progressive": ["--freezing_strategy", "progressive", *length],
        "fixed": ["--freezing_strategy", "fixed", *phases],
    }


@dataclass(frozen=True)
class Job:
    """One training run."""

    backbone: str
    arm: str
    seed: int
    flags: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """What comes after ``train.py``, but for the run folder."""
        fixed = ["--model", self.backbone, "--seed", str(self.seed), "--workers", "0", "--device", "cpu"]
        return [*fixed, *self.flags]

    @property
    def folder(self) -> Path:
        return RUNS / self.backbone / self.arm.replace(" ", "_") / f"seed{self.seed}"


def main() -> None:
    args = _arguments()
    jobs = [
        Job(backbone, arm, seed, (*flags, *args.extra))
        for seed in args.seeds
        for backbone in args.backbones
        for arm, flags in arms(args.epochs).items()
    ]
    # rendered once here, so that no run pays for it or races for it
    render = "from unfreeze.data.demo import ensure_demo; ensure_demo()"
    subprocess.run([sys.executable, "-c", render], check=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        measured = list(pool.map(measure, jobs))
    rows = summarise(jobs, measured)
    note = (
        f"Validation {METRIC.replace('_', ' ')} after the last of {args.epochs} epochs, processor seconds "
        f"and peak memory of the whole process: mean ± standard deviation over {len(args.seeds)} seeds, one "
        f"thread a run. {footer()}"
    )
    content = {
        "epochs": args.epochs,
        "seeds": args.seeds,
        "jobs": args.jobs,
        "runs": [
            {"backbone": j.backbone, "arm": j.arm, "seed": j.seed, **m}
            for j, m in zip(jobs, measured, strict=True)
        ],
    }
    write("demo_table", content, rows + "\n\n" + note)


def measure(job: Job) -> dict[str, Any]:
    """Run a job unless it is done: processor seconds, peak MiB, metrics of its last and its best epoch."""
    record = job.folder / "measured.json"
    if record.exists():
        found = json.loads(record.read_text())
        if found["command"] == job.words:
            return found
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    run = job.folder / "run"
    with (job.folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *job.words, "--run_dir", str(run)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        # wait4, because it alone gives the time and peak memory of this one child
        _, status, usage = os.wait4(process.pid, 0)
    seconds = usage.ru_utime + usage.ru_stime
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(job.words)} failed, see {job.folder / 'output.txt'}")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    found = {
        "command": job.words,
        "seconds": seconds,
        "peak_mib": usage.ru_maxrss * unit / 2**20,
        "last": _metrics(rows[-1]),
        "best": _metrics(max(rows, key=lambda row: _metrics(row)[METRIC])),
    }
    record.write_text(json.dumps(found, indent=1))
    print(f"{job.backbone} {job.arm} seed {job.seed}: {found['last']}, {seconds:.0f} s", file=sys.stderr)
    return found


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """``{"balanced_accuracy": mean over tasks, "motion/balanced_accuracy": …}`` of one epoch."""
    return {name: value for name, value in row["val"].items() if name.endswith(METRIC)}


def summarise(jobs: Sequence[Job], measured: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown table: a row per backbone and arm, a column per task."""
    tasks = [name.split("/")[0] for name in measured[0]["last"] if "/" in name]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for job, found in zip(jobs, measured, strict=True):
        groups.setdefault((job.backbone, job.arm), []).append(found)
    rows = []
    for (backbone, arm), runs in groups.items():
        names = [*(f"{task}/{METRIC}" for task in tasks), METRIC]
        cells = [spread([run["last"][name] for run in runs], 3) for name in names]
        seconds, memory = (spread([run[key] for run in runs], 0) for key in ("seconds", "peak_mib"))
        rows.append([f"{backbone}, {arm}", *cells, seconds, memory])
    return table(["backbone, strategy", *tasks, "mean", "CPU s", "peak MiB"], rows)


def spread(values: Sequence[float], digits: int) -> str:
    """``mean ± standard deviation``; the mean alone where there is one value."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--epochs", type=int, default=12, help="of every run (default: 12)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each (default: 1)")
    parser.add_argument(
        "--extra", nargs=argparse.REMAINDER, default=[], help="more flags for every run, at the end"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
