"""From flags to the things that train: loaders, a model, its freezer, optimizer and schedule.

``run.py`` makes a run of them; commands that only try something out use them without a run folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unfreeze.data import ClipDataset, ClipLoader, Manifest, load_manifest, make_loader
from unfreeze.data.clip_cache import ClipCache, Expected, choose, expect, measure_room, open_cache
from unfreeze.data.summary import class_lines
from unfreeze.data.transforms import direction_like, flips, training_side
from unfreeze.freezer import Freezer
from unfreeze.history import Mode
from unfreeze.models import VideoClassifier, build_model
from unfreeze.optim import build_optimizer, build_scheduler
from unfreeze.preprocessing import Preprocessing
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
            data_format=config.data_format,
            val_fraction=config.val_fraction,
            folds=config.folds,
            fold=config.fold,
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
            augment=config.augment,
            flip=bool(config.flip),
        )
        for split in ("train", "val")
    }
    expected = Expected()
    if config.clip_cache != "off":
        expected += expect(views["train"], training_side(preprocessing))
        expected += expect(
            views["val"], _resized_side(preprocessing), frames=preprocessing.frames * config.eval_clips
        )
    choice = choose(config.clip_cache, expected, measure_room(), epochs=epochs, gb=config.clip_cache_gb)
    return open_cache(choice), choice.line


def make_loaders(
    config: TrainConfig,
    manifest: Manifest,
    model: VideoClassifier,
    device: torch.device,
    *,
    cache: ClipCache | None = None,
    weights: NDArray[np.float64] | None = None,
) -> tuple[ClipLoader, ClipLoader]:
    """The training clips, in an order and with crops of their own in each epoch, and the validation clips.

    Args:
        weights: how often each training clip is drawn, relative to the others; None is once each.
    """
    train = make_loader(
        make_dataset(config, manifest, model, "train", train=True, cache=cache),
        batch_size=config.batch_size,
        workers=config.workers,
        pin_memory=device.type == "cuda",
        weights=weights,
    )
    return train, evaluation_loader(config, manifest, model, device, "val", cache=cache)


def evaluation_loader(
    config: TrainConfig,
    manifest: Manifest,
    model: VideoClassifier,
    device: torch.device,
    split: str,
    *,
    cache: ClipCache | None = None,
) -> ClipLoader:
    """The clips of a split in their order, as evaluation sees them."""
    return make_loader(
        make_dataset(config, manifest, model, split, train=False, cache=cache),
        batch_size=config.batch_size,
        workers=config.workers,
        pin_memory=device.type == "cuda",
    )


def make_dataset(
    config: TrainConfig,
    manifest: Manifest,
    model: VideoClassifier,
    split: str,
    *,
    train: bool,
    cache: ClipCache | None = None,
) -> ClipDataset:
    """The clips of a split, varied for training or as evaluation sees them."""
    return ClipDataset(
        manifest.split(split),
        manifest.tasks,
        model.preprocessing,
        train=train,
        seed=config.seed,
        augment=config.augment,
        flip=config.flip,
        flip_swap=config.flip_swap,
        multilabel=manifest.multilabel,
        eval_clips=config.eval_clips,
        eval_crops=int(config.eval_crops),
        decoder=config.decoder,
        cache=cache,
    )


def _resized_side(preprocessing: Preprocessing) -> int:
    """The shorter side of a clip that evaluation has resized."""
    resize = preprocessing.resize
    return resize if isinstance(resize, int) else min(resize)
