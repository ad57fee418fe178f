"""From flags to the things that train: loaders, a model, its freezer, optimizer and schedule.

``run.py`` makes a run of them; commands that only try something out use them without a run folder.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unfreeze.data import ClipDataset, ClipLoader, Manifest, load_manifest, make_loader
from unfreeze.freezer import Freezer
from unfreeze.history import Mode
from unfreeze.models import VideoClassifier
from unfreeze.optim import build_optimizer, build_scheduler
from unfreeze.report.console import BatchProgress, RunConsole
from unfreeze.strategies import Strategy
from unfreeze.training.config import TrainConfig
from unfreeze.training.device import parallelise
from unfreeze.training.precision import make_scaler


@dataclass(frozen=True)
class Assembly:
    """A model and what trains it.

    Attributes:
        model: the bare model.
        parallel: what batches go through: the model, or an ``nn.DataParallel`` of it.
        rates: the learning rate of each parameter group at the start of the run.
    """

    model: VideoClassifier
    parallel: nn.Module
    freezer: Freezer
    optimizer: torch.optim.Optimizer
    schedule: Any
    scaler: torch.amp.GradScaler
    rates: tuple[float, ...]


def assemble(
    config: TrainConfig,
    strategy: Strategy,
    model: VideoClassifier,
    device: torch.device,
    *,
    mode: Mode,
    steps_per_epoch: int,
) -> Assembly:
    """Move ``model`` to ``device`` and put freezer, optimizer and schedule around it, as the flags say.

    Args:
        config: with epochs and learning rates resolved.
        mode: of the monitored metric.
        steps_per_epoch: optimizer steps.

    Raises:
        ValueError: flags that do not fit the model; one line says which and what to do.
    """
    model.to(device)
    parallel = parallelise(model, config.parallel, device)
    freezer = Freezer(
        parallel,
        strategy,
        monitor=config.monitor,
        mode=mode,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        thaw_warmup_steps=config.thaw_warmup_steps,
    )
    backbone_lr = config.backbone_lr
    assert backbone_lr is not None, "learning rates are resolved before"
    groups = freezer.param_groups(
        lr=backbone_lr,
        head_lr=config.head_lr,
        layer_decay=config.layer_decay,
        weight_decay=config.weight_decay,
    )
    rates = tuple(group["lr"] for group in groups)
    optimizer = build_optimizer(
        config.optimizer,
        groups,
        lr=backbone_lr,
        weight_decay=config.weight_decay,
        **(config.optimizer_args or {}),
    )
    schedule = build_scheduler(
        config.scheduler,
        optimizer,
        epochs=config.epochs or 0,
        steps_per_epoch=steps_per_epoch,
        metric_mode=mode,
        **(config.scheduler_args or {}),
    )
    freezer.attach(optimizer, schedule.scheduler)
    return Assembly(
        model, parallel, freezer, optimizer, schedule, make_scaler(device, config.precision), rates
    )


def optimizer_steps(loader: ClipLoader, config: TrainConfig) -> int:
    """Optimizer steps in an epoch of ``loader``."""
    return math.ceil(len(loader) / config.accumulate)


def load_data(config: TrainConfig, console: RunConsole) -> Manifest:
    """The clips and labels; while the demo is rendered, the user sees it."""
    with ExitStack() as stack:
        bar: BatchProgress | None = None

        def rendered(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                console.print(f"Rendering the {total} clips of the demo, this once")
                bar = stack.enter_context(console.progress("Rendering", total))
            bar.advance()

        return load_manifest(
            config.data,
            tasks=config.tasks,
            val_fraction=config.val_fraction,
            seed=config.seed,
            progress=rendered,
        )


def make_loaders(
    config: TrainConfig, manifest: Manifest, model: VideoClassifier, device: torch.device
) -> tuple[ClipLoader, ClipLoader]:
    """The training clips, in an order and with crops of their own in each epoch, and the validation clips."""
    datasets = (
        ClipDataset(
            manifest.split(split),
            manifest.tasks,
            model.preprocessing,
            train=split == "train",
            seed=config.seed,
            augment=config.augment,  # type: ignore[arg-type]
            flip=bool(config.flip),
        )
        for split in ("train", "val")
    )
    train_loader, val_loader = (
        make_loader(
            dataset,
            batch_size=config.batch_size,
            workers=config.workers,
            pin_memory=device.type == "cuda",
        )
        for dataset in datasets
    )
    return train_loader, val_loader
