"""Everything that training needs, made from flags and not yet used: of a run, or of a trial without files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from unfreeze.data import ClipLoader, Manifest
from unfreeze.data.clip_cache import ClipCache
from unfreeze.history import Mode
from unfreeze.models import VideoClassifier
from unfreeze.models.registry import backbone
from unfreeze.report.console import RunConsole
from unfreeze.strategies import Strategy
from unfreeze.training.assembly import Assembly, assemble, make_model, optimizer_steps
from unfreeze.training.bad_files import checked
from unfreeze.training.balance import plan_balance, prior_lines, sample_weights
from unfreeze.training.clips import data_lines, evaluation_loader, load_data, make_cache, make_loaders
from unfreeze.training.config import TrainConfig
from unfreeze.training.forward import Forward
from unfreeze.training.head_init import init_heads
from unfreeze.training.losses import build_criterion
from unfreeze.training.metrics import check_monitor
from unfreeze.training.mixing import Mixing
from unfreeze.training.seeding import seed_epoch
from unfreeze.training.step import Stepper
from unfreeze.training.task_weights import task_weights

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """The parts of training.

    Attributes:
        mode: ``max`` or ``min``, for the monitored metric.
        cache: of decoded clips, to be closed at the end; or None.
        steps_per_epoch: optimizer steps.
    """

    mode: Mode
    cache: ClipCache | None
    train_loader: ClipLoader
    val_loader: ClipLoader
    made: Assembly
    stepper: Stepper
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
    *,
    epochs: int,
    model: VideoClassifier | None = None,
) -> Prepared:
    """Loaders, and a model with all that trains it.

    Args:
        config: with epochs and learning rates resolved.
        epochs: that are to come, for the cache to be worth it.
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
    cache, line = make_cache(config, manifest, model.preprocessing, reads=epochs)
    try:
        say(line)
        for line in prior_lines(balance, manifest):
            say(line)
        weights = sample_weights(balance, manifest)
        train_loader, val_loader = make_loaders(
            config, manifest, model.preprocessing, device, cache=cache, weights=weights
        )
        steps = optimizer_steps(train_loader, config)
        made = assemble(config, strategy, model, device, mode=mode, steps_per_epoch=steps)
        if is_new and config.head_init != "random":
            # read once, so not for the cache: the room there is for what every epoch reads
            clips = evaluation_loader(config, manifest, model.preprocessing, device, "train")
            with console.progress("Heads", total=len(clips)) as progress:
                found = progress.track(clips)
                init_heads(model, config.head_init, found, device=device, precision=config.precision)
    except BaseException:
        if cache is not None:
            cache.close()
        raise
    criterion = build_criterion(balance, manifest, config.label_smoothing)
    forward = Forward(made.parallel, device, config.precision)
    mixing = Mixing(config.mixup, config.cutmix, config.seed)
    stepper = Stepper(config, device, made, forward, criterion, mixing)
    return Prepared(mode, cache, train_loader, val_loader, made, stepper, steps)
