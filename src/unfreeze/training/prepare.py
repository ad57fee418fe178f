"""Everything that training needs, made from flags and not yet used: of a run, or of a trial without files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from unfreeze.data import ClipLoader, Manifest
from unfreeze.data.clip_cache import ClipCache
from unfreeze.data.loader import batches_per_epoch
from unfreeze.history import Mode
from unfreeze.models import VideoClassifier
from unfreeze.models.registry import backbone
from unfreeze.report.console import RunConsole
from unfreeze.strategies import Strategy
from unfreeze.training.assembly import Assembly, assemble, make_model
from unfreeze.training.bad_files import checked
from unfreeze.training.balance import plan_balance, prior_lines, sample_weights
from unfreeze.training.clips import (
    data_lines,
    evaluation_loader,
    load_data,
    make_cache,
    make_dataset,
    make_loaders,
)
from unfreeze.training.config import TrainConfig
from unfreeze.training.forward import Forward
from unfreeze.training.head_init import init_heads
from unfreeze.training.losses import build_criterion
from unfreeze.training.metrics import check_monitor
from unfreeze.training.mixing import Mixing
from unfreeze.training.prefix.build import make_engine
from unfreeze.training.prefix.engine import PrefixEngine
from unfreeze.training.prefix.forward import PrefixForward
from unfreeze.training.resume import go_on
from unfreeze.training.seeding import seed_epoch
from unfreeze.training.step import Stepper
from unfreeze.training.task_weights import task_weights

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """The parts of training.

    Attributes:
        mode: ``max`` or ``min``, for the monitored metric.
        cache: of decoded clips, or None.
        evaluation: from validation batches to logits.
        engine: runs frozen blocks, and keeps what they make; or None.
        steps_per_epoch: optimizer steps.
    """

    mode: Mode
    cache: ClipCache | None
    train_loader: ClipLoader
    val_loader: ClipLoader
    made: Assembly
    stepper: Stepper
    evaluation: Forward
    engine: PrefixEngine | None
    steps_per_epoch: int


def read_data(config: TrainConfig, console: RunConsole, say: Say) -> Manifest:
    """The clips and labels, without bad files; what there is to know of them is said.

    Raises:
        ValueError: they cannot be trained on; one line says why and what to do.
        OSError: a file cannot be read.
    """
    manifest = load_data(config, console)
    expected = backbone(config.model).preprocessing()
    expected = expected.with_clip(config.frames, config.fps, config.stride, config.short)
    manifest = checked(manifest, config, console, expected)
    for line in data_lines(manifest, config):
        say(line)
    return manifest


def prepare(
    config: TrainConfig,
    strategy: Strategy,
    manifest: Manifest,
    device: torch.device,
    console: RunConsole,
    say: Say,
    stack: ExitStack,
    *,
    before: Mapping[str, Any] | None = None,
    model: VideoClassifier | None = None,
) -> Prepared:
    """Loaders, and a model with all that trains it.

    Args:
        config: with epochs and learning rates resolved.
        stack: closes caches at the end.
        before: the checkpoint of the run that goes on.
        model: one that has been trained already; None makes a new one, with heads as ``--head_init`` says.

    Raises:
        ValueError: flags that do not fit the data or the model; one line says which and what to do.
        OSError: weights that cannot be read.
    """
    mode = check_monitor(config.monitor, tuple(manifest.tasks), manifest.multilabel)
    balance = plan_balance(config, manifest.tasks)
    task_weights(config.task_weights, tuple(manifest.tasks), ())  # refuses what does not fit the tasks
    is_new = model is None
    if model is None:
        seed_epoch(config.seed, 0)  # fresh heads are random
        model = make_model(config, manifest, say)
    for line in prior_lines(balance, manifest):
        say(line)
    batches = batches_per_epoch(len(manifest.split("train")), config.batch_size)
    steps = math.ceil(batches / config.accumulate)
    made = assemble(config, strategy, model, device, mode=mode, steps_per_epoch=steps)
    if before is not None:
        go_on(made, config, before, steps_per_epoch=steps, mode=mode)
    if is_new and config.head_init != "random":
        clips = evaluation_loader(config, manifest, model.preprocessing, device, "train")
        with console.progress("Heads", total=len(clips)) as progress:
            found = progress.track(clips)
            init_heads(model, config.head_init, found, device=device, precision=config.precision)

    datasets = {
        split: make_dataset(config, manifest, model.preprocessing, split, train=split == "train")
        for split in ("train", "val")
    }
    engine = make_engine(config, made.freezer, device, datasets, say, before)
    assert config.epochs is not None, "epochs are resolved before"
    reads, val_once = float(config.epochs - len(made.freezer.history.records)), False
    if engine is not None:
        stack.callback(engine.close)
        reads, val_once = engine.choice.reads(config, round(reads))
    cache, line = make_cache(config, manifest, model.preprocessing, reads=reads, val_once=val_once)
    say(line)
    if cache is not None:
        stack.callback(cache.close)
    train_loader, val_loader = make_loaders(
        config,
        manifest,
        model.preprocessing,
        device,
        cache=cache,
        weights=sample_weights(balance, manifest),
        val_once=val_once,
        is_kept=engine.is_kept if engine is not None and engine.choice.on else None,
    )
    criterion = build_criterion(balance, manifest, config.label_smoothing)
    mixing = Mixing(config.mixup, config.cutmix, config.seed)
    plain = Forward(made.parallel, device, config.precision)
    training, evaluation = (
        plain if engine is None else PrefixForward(engine, split) for split in ("train", "val")
    )
    stepper = Stepper(config, device, made, training, criterion, mixing)
    return Prepared(mode, cache, train_loader, val_loader, made, stepper, evaluation, engine, steps)
