"""``unfreeze evaluate``: metrics per task of a trained checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.cli.flags import Group, flags_of
from unfreeze.cli.parser import parse
from unfreeze.cli.trained import checkpoint_path, print_table
from unfreeze.options import check_options, option

if TYPE_CHECKING:
    from unfreeze.data.manifest import Manifest

SUMMARY = "measure a trained checkpoint, task by task"


@dataclass(frozen=True)
class EvaluateConfig:
    """The flags of ``evaluate``."""

    checkpoint: str = option(dataclasses.MISSING, "a run folder (its best.pt) or a checkpoint file")
    data: str | None = option(None, "a folder of classes or a CSV file (default: what the run trained on)")
    tasks: tuple[str, ...] | None = option(None, "the tasks to measure (default: all of the model)")
    split: Literal["train", "val", "test", "all"] = option("val", "which clips of the data")
    format: Literal["table", "json"] = option("table", "how to print the metrics")
    batch_size: int = option(8, "clips in a batch", ge=1)
    workers: int = option(2, "processes that decode clips; 0 decodes in this process", ge=0)
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to compute")
    precision: Literal["fp32", "bf16", "fp16"] = option("fp32", "number format of the forward pass")

    def __post_init__(self) -> None:
        check_options(self, flag=lambda name: f"--{name}")


def run(argv: Sequence[str], program: str) -> int:
    """Print the metrics on stdout; everything else goes to stderr."""
    groups = (Group("evaluation", flags_of(EvaluateConfig)),)
    config = EvaluateConfig(**parse(argv, groups, program=program, description=_description(program)))

    # torch takes its time; --help and wrong flags do not wait for it

    from unfreeze.data import ClipDataset, make_loader
    from unfreeze.report.console import RunConsole
    from unfreeze.training.checkpoint import load_for_inference
    from unfreeze.training.device import pick_device
    from unfreeze.training.evaluate import evaluate

    path = checkpoint_path(config.checkpoint)
    model, content = load_for_inference(path)
    device = pick_device(config.device)
    manifest = _manifest(config, content, model.tasks)
    samples = manifest.samples if config.split == "all" else manifest.split(config.split)
    if not samples:
        raise ValueError(
            f"{manifest.source} has no clips in the split {config.split}; choose another with --split"
        )
    dataset = ClipDataset(samples, model.tasks, model.preprocessing, train=False)
    loader = make_loader(dataset, batch_size=config.batch_size, workers=config.workers)
    console = RunConsole(sys.stderr)
    for note in manifest.notes:
        console.print(note)
    with console.progress("Evaluating", total=len(loader)) as progress:
        found = evaluate(
            model.to(device),
            progress.track(loader),
            tasks=list(manifest.tasks),
            device=device,
            precision=config.precision,
        )
    by_task = per_task(found.metrics)
    if config.format == "json":
        about = {
            "checkpoint": str(path),
            "epoch": content["epoch"],
            "data": manifest.source,
            "split": config.split,
        }
        print(json.dumps({**about, "clips": len(samples), "metrics": by_task}, indent=2))
    else:
        print(
            f"{path} (epoch {content['epoch']}) on {len(samples)} clips of {manifest.source}, {config.split}"
        )
        _print_table(by_task)
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


def _manifest(
    config: EvaluateConfig, content: Mapping[str, Any], classes: Mapping[str, Sequence[str]]
) -> Manifest:
    """The data to measure on; the automatic split of the run's own data is the run's."""
    from unfreeze.data import load_manifest

    trained = content["config"]
    return load_manifest(
        config.data if config.data is not None else trained["data"],
        tasks=config.tasks,
        val_fraction=trained["val_fraction"],
        seed=trained["seed"],
        classes=classes,
    )


def _print_table(by_task: Mapping[str, Mapping[str, float | None]]) -> None:
    names = list(next(iter(by_task.values())))
    rows = [
        [task, *("none" if metrics[name] is None else f"{metrics[name]:.4f}" for name in names)]
        for task, metrics in by_task.items()
    ]
    print_table(["task", *names], rows, justify_right=True)


def _description(program: str) -> str:
    return f"""\
Measure a trained checkpoint: loss, accuracy, balanced accuracy and macro F1 of each task. Class names,
preprocessing and the data set come from the checkpoint itself.

examples:
  {program} --checkpoint runs/NAME
  {program} --checkpoint runs/NAME/best.pt --data more_clips/ --split all
  {program} --checkpoint runs/NAME --format json > metrics.json
"""
