"""``unfreeze evaluate``: what a trained checkpoint gets right, task by task and class by class."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unfreeze.cli.evaluation_folder import EvaluationFolder, default_folder, prediction_lines
from unfreeze.cli.flags import Group, flags_of
from unfreeze.cli.parser import parse
from unfreeze.cli.trained import CHECKPOINT_HELP, checkpoint_path, print_table, trained_data
from unfreeze.options import check_options, option

SUMMARY = "measure a trained checkpoint, task by task and class by class"

_MOST_CLASSES = 30  # that a table on the console shows


@dataclass(frozen=True)
class EvaluateConfig:
    """The flags of ``evaluate``."""

    checkpoint: str = option(dataclasses.MISSING, CHECKPOINT_HELP)
    data: str | None = option(None, "any data set that train takes (default: what the run trained on)")
    data_format: str | None = option(
        None, "what the data is, where that cannot be told by looking at it (default: the run's, or auto)"
    )
    tasks: tuple[str, ...] | None = option(None, "the tasks to measure (default: all of the model)")
    split: Literal["train", "val", "test", "all"] = option("val", "which clips of the data")
    eval_clips: int | None = option(
        None, "clips of each video whose probabilities are averaged (default: as in training)", ge=1
    )
    eval_crops: Literal["1", "3"] | None = option(
        None, "crops of each such clip: the centre, or both ends too (default: as in training)"
    )
    allow_bad: tuple[str, ...] | None = option(
        None, "bad files that are left out, by name (default: for the run's own data, what the run allowed)"
    )
    output: str | None = option(
        None, "folder for metrics, confusion matrices and predictions (default: beside the checkpoint)"
    )
    format: Literal["table", "json"] = option("table", "how to print the metrics")
    batch_size: int = option(8, "clips in a batch", ge=1)
    workers: int = option(2, "processes that decode clips; 0 decodes in this process", ge=0)
    decoder: Literal["auto", "torchcodec", "pyav"] = option(
        "auto", "auto is torchcodec where it loads, else pyav"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to compute")
    precision: Literal["fp32", "bf16", "fp16"] = option("fp32", "number format of the forward pass")

    def __post_init__(self) -> None:
        check_options(self, flag=lambda name: f"--{name}")


def run(argv: Sequence[str], program: str) -> int:
    """Print the metrics on stdout and write all there is to say; everything else goes to stderr."""
    groups = (Group("evaluation", flags_of(EvaluateConfig)),)
    config = EvaluateConfig(**parse(argv, groups, program=program, description=_description(program)))

    # torch takes its time; --help and wrong flags do not wait for it
    from unfreeze.cli.mvfoul import challenge_scores
    from unfreeze.data import ClipDataset, make_loader
    from unfreeze.data.decode import pick_decoder
    from unfreeze.report.console import RunConsole
    from unfreeze.training.bad_files import without_named
    from unfreeze.training.checkpoint import load_for_inference
    from unfreeze.training.class_report import class_reports
    from unfreeze.training.device import pick_device
    from unfreeze.training.evaluate import evaluate
    from unfreeze.training.forward import Forward
    from unfreeze.training.latency import Latency

    path = checkpoint_path(config.checkpoint)
    model, content = load_for_inference(path)
    trained = content["config"]
    device = pick_device(config.device)
    manifest = trained_data(content, model, config.data, tasks=config.tasks, data_format=config.data_format)
    samples = manifest.samples if config.split == "all" else manifest.split(config.split)
    if not samples:
        raise ValueError(
            f"{manifest.source} has no clips in the split {config.split}; choose another with --split"
        )
    decoder = pick_decoder(config.decoder)
    allowed = config.allow_bad
    if allowed is None and config.data is None:
        allowed = trained.get("allow_bad")
    samples, left_out = without_named(samples, allowed or (), decoder=decoder, workers=config.workers)
    if not samples:
        raise ValueError(f"{manifest.source}: all clips of the split {config.split} are bad: {left_out[0]}")
    dataset = ClipDataset(
        samples,
        manifest.tasks,
        model.preprocessing,
        train=False,
        multilabel=manifest.multilabel,
        eval_clips=config.eval_clips or trained.get("eval_clips", 1),
        eval_crops=int(config.eval_crops or trained.get("eval_crops", 1)),
        decoder=decoder,
    )
    loader = make_loader(dataset, batch_size=config.batch_size, workers=config.workers)
    named = Path(config.output) if config.output else default_folder(path, config.split, config.data)
    folder = EvaluationFolder(named)
    console = RunConsole(sys.stderr)
    for note in (*manifest.notes, *left_out):
        console.print(note)
    latency = Latency(model.to(device), device)
    with console.progress("Evaluating", total=len(loader)) as progress:
        found = evaluate(
            Forward(latency, device, config.precision),
            latency.track(progress.track(loader)),
            tasks=list(manifest.tasks),
            multilabel=manifest.multilabel,
        )
    reports = class_reports(found, manifest.tasks, manifest.multilabel)
    scores, further = challenge_scores(found, samples, manifest.tasks)
    summary: dict[str, Any] = {
        "checkpoint": str(path),
        "epoch": content["epoch"],
        "data": manifest.source,
        "split": config.split,
        "clips": len(samples),
        "metrics": per_task(found.metrics),
        "intervals": {task: {"balanced_accuracy": report["interval"]} for task, report in reports.items()},
        "classes": {task: report["classes"] for task, report in reports.items()},
        "confusion": {task: report["confusion"] for task, report in reports.items()},
        **({"mvfoul": scores} if scores else {}),
        "latency": latency.summary(),
        "output": str(folder.path),
    }
    folder.write(summary, reports, prediction_lines(found, samples, manifest), further)
    if config.format == "json":
        print(json.dumps(summary, indent=2))
    else:
        _print_summary(summary)
    return 0


def per_task(metrics: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
    """``{"motion/accuracy": …, "accuracy": …}`` as ``{"motion": {"accuracy": …}, "mean": {…}}``.

    The mean over tasks comes last, and only where there are several. A value that is not finite becomes None,
    as JSON has no NaN.
    """
    tasks: dict[str, dict[str, float | None]] = {}
    mean: dict[str, float | None] = {}
    for name, value in metrics.items():
        task, _, metric = name.rpartition("/")
        (tasks.setdefault(task, {}) if task else mean)[metric] = value if math.isfinite(value) else None
    return {**tasks, "mean": mean} if len(tasks) > 1 else tasks


def _print_summary(summary: Mapping[str, Any]) -> None:
    print(
        f"{summary['checkpoint']} (epoch {summary['epoch']}) on {summary['clips']} clips of "
        f"{summary['data']}, {summary['split']}"
    )
    by_task: Mapping[str, Mapping[str, float | None]] = summary["metrics"]
    names = list(dict.fromkeys(name for metrics in by_task.values() for name in metrics))
    rows = []
    for task, metrics in by_task.items():
        interval = summary["intervals"].get(task, {}).get("balanced_accuracy")
        between = "" if interval is None else f"{interval['low']:.3f} … {interval['high']:.3f}"
        rows.append([task, *(_number(metrics[name]) if name in metrics else "" for name in names), between])
    print_table(["task", *names, "95% of balanced_accuracy"], rows, justify_right=True)
    for task, classes in summary["classes"].items():
        print()
        shown = classes
        if len(classes) > _MOST_CLASSES:
            shown = sorted(classes, key=lambda row: (row["recall"] is None, row["recall"]))[:_MOST_CLASSES]
            print(f"{task}: the {_MOST_CLASSES} of {len(classes)} classes with the lowest recall")
        cells = [
            [
                row["name"],
                *(_number(row[name]) for name in ("recall", "precision", "f1")),
                str(row["support"]),
            ]
            for row in shown
        ]
        print_table([task, "recall", "precision", "f1", "support"], cells, justify_right=True)
    for name, scores in summary.get("mvfoul", {}).items():
        values = {kind: _number(of_kind["leaderboard_value"]) for kind, of_kind in scores.items()}
        both = f"{values['official']} official, {values['corrected']} corrected"
        print(f"\nMVFoul {name}, leaderboard value: {both}")
    print(f"\n{_latency_line(summary['latency'])}\nEverything: {summary['output']}")


def _latency_line(latency: Mapping[str, Any]) -> str:
    model, whole = latency["model_ms_per_clip"], latency["end_to_end_ms_per_clip"]
    return (
        f"Milliseconds per clip in batches of {latency['batch_size']} on {latency['device']}: "
        f"model {model['median']:.1f} (p95 {model['p95']:.1f}), "
        f"with decoding {whole['median']:.1f} (p95 {whole['p95']:.1f})"
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _description(program: str) -> str:
    return f"""\
Measure a trained checkpoint: loss, accuracy, balanced accuracy (and where 95% of its bootstrap draws lie) and
macro F1 of each task; recall, precision and F1 of each class; milliseconds per clip. Confusion matrices (PNG
and JSON) and all predictions (CSV) go into a folder. Class names, preprocessing and the data come from the
checkpoint itself.

examples:
  {program} --checkpoint best
  {program} --checkpoint runs/NAME/best.pt --data more_clips/ --split all
  {program} --checkpoint runs/NAME --eval_clips 5 --eval_crops 3
  {program} --checkpoint runs/NAME --format json > metrics.json
"""
