"""From flags to the things that train: a model, its freezer, optimizer and schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from unfreeze.data import ClipLoader, Manifest
from unfreeze.freezer import Freezer
from unfreeze.history import Mode
from unfreeze.models import VideoClassifier, build_model
from unfreeze.optim import NoSchedule, Schedule, build_optimizer, build_scheduler
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
    schedule: Schedule | NoSchedule
    scaler: torch.amp.GradScaler
    rates: tuple[float, ...]


def make_model(config: TrainConfig, manifest: Manifest, log: Callable[[str], None]) -> VideoClassifier:
    """The pretrained backbone with fresh heads for the tasks of ``manifest``, on the CPU.

    Args:
        log: told in one line which heads there are.
    """
    own = {"frames": config.frames, "fps": config.fps, "stride": config.stride, "short": config.short}
    return build_model(
        config.model,
        manifest.tasks,
        weights=config.weights,
        log=log,
        multilabel=manifest.multilabel,
        views=config.views,
        dropout=config.dropout,
        clip=own,
    )


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
