"""A learning-rate range test on a run that is thrown away: its data, model, freezing, optimizer, no files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import nn

from unfreeze.data import ClipLoader
from unfreeze.data.loader import Batch
from unfreeze.freezer import Freezer
from unfreeze.report.console import RunConsole
from unfreeze.report.lines import params_lines
from unfreeze.strategies import Strategy
from unfreeze.training.assembly import (
    Assembly,
    assemble,
    data_lines,
    evaluation_loader,
    load_data,
    make_cache,
    make_loaders,
    make_model,
    optimizer_steps,
)
from unfreeze.training.balance import plan_balance, sample_weights
from unfreeze.training.config import TrainConfig, resolve
from unfreeze.training.device import pick_device
from unfreeze.training.early import check_early
from unfreeze.training.head_init import init_heads
from unfreeze.training.loop import windows
from unfreeze.training.losses import Criterion, build_criterion, count_labelled, mean_over_tasks
from unfreeze.training.metrics import check_monitor
from unfreeze.training.mixing import Mixing, mixed
from unfreeze.training.precision import autocast
from unfreeze.training.range_test import Curve, growing_rates, suggested, sweep
from unfreeze.training.seeding import deterministic, seed_epoch
from unfreeze.training.task_weights import task_weights


@dataclass(frozen=True)
class Found:
    """What a range test found.

    Attributes:
        curve: over the learning rate of the heads.
        ratio: the rate of the backbone's last block over that of the heads; kept during the test.
        trainable: the blocks that trained, from input to output.
        epoch: the epoch whose freezing was tested.
        rate: the suggested rate of the heads, or None where the loss never fell.
    """

    curve: Curve
    ratio: float
    trainable: tuple[str, ...]
    epoch: int
    rate: float | None

    @property
    def flags(self) -> str | None:
        """The suggestion as flags of ``train``. A rate that was not tested is not among them."""
        if self.rate is None:
            return None
        if not self.trainable:
            return f"--head_lr {self.rate:.2g}"
        if self.ratio == 1:
            return f"--lr {self.rate:.2g}"
        return f"--head_lr {self.rate:.2g} --backbone_lr {self.rate * self.ratio:.2g}"


def find_lr(
    config: TrainConfig,
    strategy: Strategy,
    console: RunConsole,
    *,
    low: float,
    high: float,
    steps: int,
    epoch: int = 1,
) -> Found:
    """Train for ``steps`` steps from the initial weights, with the rate growing from ``low`` to ``high``.

    Heads and the blocks that the strategy has thawed in ``epoch`` train, each at its own multiple of the rate
    (``--head_lr``, ``--backbone_lr``, ``--layer_decay``, the strategy's scales). Schedules and warm-ups stay
    out of it. Nothing is kept and no file is written.

    Raises:
        ValueError: flags, data or weights that do not fit, rates that do not grow, or an epoch whose
            freezing depends on what is measured before.
        OSError: a file cannot be read.
    """
    if not low < high:
        raise ValueError(f"--lr_min {low:g} must be below --lr_max {high:g}")
    config = resolve(config, strategy)
    assert config.epochs is not None
    assert config.head_lr is not None
    assert config.backbone_lr is not None
    if epoch > config.epochs:
        raise ValueError(f"--epoch {epoch}: the run has {config.epochs} epochs; see --epochs")
    ratio = config.backbone_lr / config.head_lr
    config = replace(config, scheduler="none", scheduler_args=None, warmup_epochs=0.0, thaw_warmup_steps=0)
    check_early(config)
    device = pick_device(config.device)
    with deterministic(device), ExitStack() as stack:
        manifest = load_data(config, console)
        for line in data_lines(manifest, config):
            console.print(line)
        mode = check_monitor(config.monitor, tuple(manifest.tasks), manifest.multilabel)
        balance = plan_balance(config, manifest.tasks)
        seed_epoch(config.seed, 0)  # the heads of a run with these flags
        model = make_model(config, manifest, console.print)
        passes = math.ceil(steps * config.batch_size * config.accumulate / len(manifest.split("train")))
        cache, line = make_cache(config, manifest, model.preprocessing, epochs=passes)
        if cache is not None:
            stack.callback(cache.close)
        console.print(line)
        weights = sample_weights(balance, manifest)
        loader, _ = make_loaders(config, manifest, model, device, cache=cache, weights=weights)
        per_epoch = optimizer_steps(loader, config)
        made = assemble(config, strategy, model, device, mode=mode, steps_per_epoch=per_epoch)
        if config.head_init != "random":
            clips = evaluation_loader(config, manifest, model, device, "train", cache=cache)
            init_heads(model, config.head_init, clips, device=device, precision=config.precision)
        trainable = go_to(made.freezer, epoch)
        for line in params_lines(made.freezer.status(), epoch):
            console.print(line)
        criterion = build_criterion(balance, manifest, config.label_smoothing)
        trial = Trial(config, device, made, criterion, loader, epoch)
        seed_epoch(config.seed, epoch)
        progress = stack.enter_context(console.progress("Learning rates", total=steps))
        curve = sweep(trial.step, progress.track(growing_rates(low, high, steps)))
    if not curve.rates:
        raise ValueError(
            "the loss is not finite before the first step; use --precision fp32 or other --weights"
        )
    return Found(curve, ratio, trainable, epoch, suggested(curve))


def go_to(freezer: Freezer, epoch: int) -> tuple[str, ...]:
    """Freeze and thaw as the strategy does up to ``epoch``; the blocks that train in it.

    Raises:
        ValueError: the strategy decides by what is measured in the epochs before.
    """
    while True:
        transition = freezer.start_epoch()
        if transition.decision.measured and epoch > 1:
            raise ValueError(
                f"--epoch {epoch}: what {freezer.strategy.name} trains by then depends on the metrics of the "
                "epochs before; test --epoch 1, or say which blocks train with --freezing_strategy fixed"
            )
        if transition.epoch == epoch:
            return transition.decision.trainable
        freezer.end_epoch()


class Trial:
    """Training steps at any learning rate, on endless training clips.

    Args:
        made: its model and optimizer are used up.
        epoch: the epoch (from 1) whose clips come first.
    """

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        made: Assembly,
        criterion: Criterion,
        loader: ClipLoader,
        epoch: int = 1,
    ) -> None:
        assert config.head_lr is not None
        self.config, self.device, self.made, self.criterion = config, device, made, criterion
        self.mixing = Mixing(config.mixup, config.cutmix, config.seed)
        self.weights = task_weights(config.task_weights, tuple(made.model.tasks), [])
        self._multiples = [rate / config.head_lr for rate in made.rates]
        self._windows = self._endless(loader, epoch)
        made.parallel.train()

    def step(self, rate: float) -> float:
        """The loss of the next clips; then an optimizer step on them, the heads learning at ``rate``."""
        made, config = self.made, self.config
        epoch, number, window = next(self._windows)
        for group, multiple in zip(made.optimizer.param_groups, self._multiples, strict=True):
            group["lr"] = rate * multiple
        counts, total = count_labelled(batch["labels"] for batch in window), 0.0
        for first, batch in enumerate(window):
            mix = self.mixing.draw(epoch, number, len(batch["index"]), first=first)
            video, mask = batch["video"].to(self.device), batch["view_mask"].to(self.device)
            labels = {task: of_task.to(self.device) for task, of_task in batch["labels"].items()}
            with autocast(self.device, config.precision):
                logits = made.parallel(video if mix is None else mix.video(video, mask), mask)
            sums = self.criterion.sums(logits, labels)
            if mix is not None:
                sums = mixed(sums, self.criterion.sums(logits, mix.labels(labels)), mix.share)
            loss = mean_over_tasks(sums, counts, self.weights)
            total += loss.item()
            made.scaler.scale(loss).backward()
        if config.clip_grad_norm is not None:
            made.scaler.unscale_(made.optimizer)
            with_gradients = [p for p in made.model.parameters() if p.grad is not None]
            nn.utils.clip_grad_norm_(with_gradients, config.clip_grad_norm)
        made.scaler.step(made.optimizer)
        made.scaler.update()
        made.optimizer.zero_grad(set_to_none=True)
        return total

    def _endless(self, loader: ClipLoader, epoch: int) -> Iterator[tuple[int, int, list[Batch]]]:
        """Epoch, number of the step in it (from 1), and its batches."""
        while True:
            loader.set_epoch(epoch)
            for number, window in enumerate(windows(loader, self.config.accumulate), start=1):
                yield epoch, number, window
            epoch += 1
