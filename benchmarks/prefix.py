"""What it is worth that frozen layers run once: whole runs of gradual thawing, with every way to train them.

    python benchmarks/prefix.py
    python benchmarks/prefix.py --models r3d_18 --clips 256 --batch_size 16 --device cuda --name prefix_gpu

All arms of a model train in processes of their own at the same time, but work in turn, an epoch each, and
who goes first changes from round to round. Each starts with empty caches. All are in memory at once, with
2 to 5 GB each for the large models, so on a small machine take them in parts (`--arms`), with naive in each.
It needs the `bench` extra.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from arms import ARMS, CASES, DEFAULT_ARMS, FULL, NAIVE, PEER, Case, flags
from driver import Run, check, tail, work
from footage import FPS, FRAMES, HEIGHT, WIDTH, write_footage
from reporting import ROOT, footer, table, write
from turns import BrokenRunError, take_turns
from unfreeze.anatomy import dissect
from unfreeze.data import load_manifest
from unfreeze.data.demo import ensure_demo
from unfreeze.history import History
from unfreeze.models import build_model
from unfreeze.prefix.flops import flop_bound
from unfreeze.prefix.profile import profile
from unfreeze.strategies import get
from unfreeze.strategies.base import BlockInfo
from unfreeze.training.forecast import forecast

RUNS = ROOT / "benchmarks" / "runs" / "prefix"
STEADY = 5  # last epochs
ENOUGH = 0.85  # of the bound


@dataclass(frozen=True)
class Measured:
    """One arm of one case; times in seconds.

    Attributes:
        seconds: of the whole run, without imports.
        guessed: the epochs of this arm are all alike and only some of them were run.
        epoch: the median of the last few.
        waiting: share of the epochs that went into waiting for training clips.
        bound: how many times faster than naive freezing it could be, by its FLOPs.
    """

    arm: str
    seconds: float
    guessed: bool
    epoch: float
    waiting: float
    bound: float
    peak_mib: float
    disk_bytes: int


def main() -> None:
    args = _arguments()
    shutil.rmtree(args.folder, ignore_errors=True)  # caches are cold
    cases = [_adjusted(CASES[model], args) for model in args.models]
    content: dict[str, Any] = {
        "setting": {**vars(args), "folder": None},
        "versions": _versions(),
        "cases": [],
    }
    tables = []
    try:
        for case in cases:
            folder = args.folder / case.model
            results = train_all(case, folder, args)
            bounds = bounds_of(case, args.arms)
            measured = [summarise(name, case, results[name], bounds[name]) for name in args.arms]
            tables.append(report(case, measured))
            print(tables[-1], file=sys.stderr)
            arms = {m.arm: {**results[m.arm], **asdict(m)} for m in measured}
            content["cases"].append({**asdict(case), "arms": arms})
            shutil.rmtree(folder)
    finally:
        if not args.keep:
            shutil.rmtree(args.folder, ignore_errors=True)
    write(args.name, content, "\n\n".join([*tables, _notes(args), footer()]))


def train_all(case: Case, folder: Path, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What every arm hands over, see ``driver.work``."""
    data = ensure_demo() / "labels.csv" if case.on_demo else None
    data = data or write_footage(folder / "footage", case.train, case.val)
    context = multiprocessing.get_context("spawn")
    runs, pipes, processes = {}, {}, []
    more = ["--device", args.device, "--precision", args.precision, "--workers", str(args.workers)]
    more += ["--seed", str(args.seed), *args.extra]
    for name in args.arms:
        own = folder / name
        own.mkdir(parents=True)
        epochs = epochs_of(name, case, args.full_epochs)
        words = flags(case, ARMS[name], data=data, folder=own, epochs=epochs, more=more)
        train, _ = _clips(case)
        runs[name] = Run(tuple(words), own, name == PEER, args.threads, train)
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=work, args=(runs[name], theirs), name=name))
        processes[-1].start()
        theirs.close()  # so that the pipe ends with the process
    try:
        results = take_turns(
            pipes, lambda round_, name: print(f"{case.model}, turn {round_}: {name}", file=sys.stderr)
        )
    except BrokenRunError as broken:
        raise SystemExit(f"{broken} failed:\n{tail(runs[str(broken)].output)}") from None
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()
    for name, run in runs.items():
        check(run, results[name], epochs_of(name, case, args.full_epochs))
    return results


def epochs_of(arm: str, case: Case, full_epochs: int) -> int:
    """Epochs that an arm really trains for; those of full fine-tuning are all alike."""
    return min(full_epochs, case.epochs) if arm == FULL else case.epochs


def summarise(arm: str, case: Case, result: Mapping[str, Any], bound: float) -> Measured:
    start, *epochs = result["turns"]
    missing = case.epochs - len(epochs)
    later = statistics.median(epochs[-STEADY:])
    return Measured(
        arm=arm,
        seconds=start + sum(epochs) + missing * later,
        guessed=missing > 0,
        epoch=later,
        waiting=sum(result["waited"]) / sum(epochs),
        bound=bound,
        peak_mib=result["gpu_peak_mib"] or result["peak_mib"],
        disk_bytes=result["disk_bytes"],
    )


def bounds_of(case: Case, arms: Sequence[str]) -> dict[str, float]:
    """Arm -> FLOPs of the whole run of naive freezing over its own."""
    model = build_model(case.model, {"motion": ["left", "right"]}, weights="none", log=lambda _: None)
    expected, anatomy = model.preprocessing, dissect(model)
    sizes = anatomy.sizes(model)
    blocks = [BlockInfo(part.name, sizes[part.name]) for part in anatomy.blocks]
    # shapes alone are enough to count
    clip = torch.empty(1, 3, expected.frames, *expected.crop, device="meta")
    flops = profile(model.to("meta"), anatomy, clip).flops
    train, val = _clips(case)

    def total(strategy: str, refresh: float | None) -> float:
        boundaries = forecast(get(strategy)(), blocks, History(), case.epochs).boundaries
        return flop_bound(boundaries, flops, refresh or 0.0, train, val)[refresh is not None]

    naive = total("early_gradual", None)
    found = {}
    for name in arms:
        arm, strategy = ARMS[name], "none" if name == FULL else "early_gradual"
        found[name] = naive / total(strategy, arm.refresh if arm.cached else None)
    return found


def report(case: Case, measured: Sequence[Measured]) -> str:
    """The table of a case: a row per arm."""
    seconds = {m.arm: m.seconds for m in measured}
    rows = []
    for m in measured:
        ratio = seconds[NAIVE] / m.seconds if NAIVE in seconds else None
        to_peer = seconds[PEER] / m.seconds if PEER in seconds else None
        target = case.targets.get(m.arm)
        rows.append(
            [
                ARMS[m.arm].label,
                f"{'≈ ' if m.guessed else ''}{m.seconds:.1f}",
                f"{m.epoch:.2f}",
                _times(ratio),
                _times(to_peer),
                "" if target is None else f"≥ {target:g}x",
                _times(m.bound),
                "" if ratio is None else f"{ratio / m.bound:.0%}",
                f"{m.peak_mib:.0f}",
                f"{m.waiting:.0%}",
                f"{m.disk_bytes / 1e6:.0f}",
            ]
        )
    header = [
        f"{case.model}, {case.clips}, {case.epochs} epochs",
        *("run, s", "late epoch, s", "to naive", "to Lightning", "target", "bound", "reached"),
        *("peak MiB", "waiting", "kept on disk, MB"),
    ]
    return table(header, rows)


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}x"


def _clips(case: Case) -> tuple[int, int]:
    """Training and validation clips."""
    if not case.on_demo:
        return case.train, case.val
    manifest = load_manifest("demo")
    return len(manifest.split("train")), len(manifest.split("val"))


def _adjusted(case: Case, args: argparse.Namespace) -> Case:
    """The case as the flags have it; the demo has the clips that it has."""
    if args.epochs is not None:
        case = replace(case, epochs=args.epochs)
    if args.batch_size is not None:
        case = replace(case, batch=args.batch_size)
    if args.clips is not None and not case.on_demo:
        case = replace(case, train=args.clips, val=max(args.clips // 4, 2))
    return case


def _versions() -> dict[str, str | None]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {**{name: version(name) for name in ("lightning", "finetuning-scheduler")}, "gpu": gpu}


def _notes(args: argparse.Namespace) -> str:
    peer = ", ".join(f"{name} {number}" for name, number in _versions().items() if number)
    memory = "GPU memory" if args.device == "cuda" else "resident memory of the process and its workers"
    return (
        f"early_gradual, {args.precision}, AdamW (fused), a constant rate, the same batches and "
        f"{args.workers} workers in every arm; `--augment light`. Large models start from random weights on "
        f"H.264 clips of {WIDTH}x{HEIGHT}, {FRAMES / FPS:.0f} s; micro ones are pretrained, on the demo. "
        "*run* is everything but imports: model, proof, measuring, filling, validation, checkpoints, plot. "
        f"*late epoch*: median of the last {STEADY}. ≈: all epochs alike, {args.full_epochs} were run. "
        "*bound*: FLOPs of naive freezing over those that are left if each frozen block runs once per view "
        f"of a clip and keeping is free; *reached*: measured ratio over the bound (target {ENOUGH:.0%} where "
        f"activations are kept). *peak*: {memory}. Arms without a prefix run in the default memory format, "
        "and so does what trains; the prefix runs channels last, with BatchNorm folded, except where exact. "
        "Lightning: frozen layers without gradients in training mode, its default, best checkpoint only. "
        f"{peer}."
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES), help="default: all")
    parser.add_argument(
        "--arms", nargs="+", choices=list(ARMS), default=list(DEFAULT_ARMS), help="default: all but exact0"
    )
    parser.add_argument("--clips", type=int, help="training clips of the large models, and a quarter more")
    parser.add_argument("--epochs", type=int, help="of every run (default: 20; 12 on the demo)")
    parser.add_argument(
        "--full_epochs", type=int, default=3, help="of full fine-tuning; the rest is a guess (default: 3)"
    )
    parser.add_argument("--batch_size", type=int, help="clips in a batch")
    parser.add_argument("--workers", type=int, default=2, help="that decode, per loader (default: 2)")
    parser.add_argument("--threads", type=int, help="that compute (default: as torch has it)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="prefix", help="of the files in benchmarks/results/")
    parser.add_argument("--folder", type=Path, default=RUNS, help="for the runs; emptied before and after")
    parser.add_argument("--keep", action="store_true", help="leave the runs there")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="more flags for every run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
