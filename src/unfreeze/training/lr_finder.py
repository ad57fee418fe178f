"""A learning-rate range test on a run that is thrown away: its data, model, freezing, optimizer, no files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from unfreeze.data import ClipLoader
from unfreeze.data.loader import Batch
from unfreeze.freezer import Freezer
from unfreeze.report.console import RunConsole
from unfreeze.report.lines import params_lines
from unfreeze.strategies import Strategy
from unfreeze.training.config import TrainConfig, resolve
from unfreeze.training.device import pick_device
from unfreeze.training.early import check_early
from unfreeze.training.loop import windows
from unfreeze.training.losses import count_labelled, mean_over_tasks
from unfreeze.training.prepare import prepare, read_data
from unfreeze.training.range_test import Curve, growing_rates, suggested, sweep
from unfreeze.training.seeding import deterministic, seed_epoch
from unfreeze.training.step import Stepper
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
    # too short for a cache to be worth it
    config = replace(config, cache="off", exact=True, compile=False, cache_dtype="produced")
    device = pick_device(config.device)
    with deterministic(device), ExitStack() as stack:
        manifest = read_data(config, console, console.print)
        # as many as it takes for so many steps
        clips = steps * config.batch_size * config.accumulate
        passes = math.ceil(clips / len(manifest.split("train")))
        short = replace(config, epochs=max(passes, epoch))
        ready = prepare(short, strategy, manifest, device, console, console.print, stack)
        trainable = go_to(ready.made.freezer, epoch)
        for line in params_lines(ready.made.freezer.status(), epoch):
            console.print(line)
        trial = RateTrial(ready.stepper, ready.train_loader, epoch)
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


class RateTrial:
    """Training steps at any learning rate, on endless training clips.

    Args:
        stepper: its model and optimizer are used up.
        epoch: the epoch (from 1) whose clips come first.
    """

    def __init__(self, stepper: Stepper, loader: ClipLoader, epoch: int = 1) -> None:
        config, made = stepper.config, stepper.made
        assert config.head_lr is not None
        self.stepper = stepper
        self.weights = task_weights(config.task_weights, tuple(made.model.tasks), [])
        self._multiples = [rate / config.head_lr for rate in made.rates]
        self._windows = self._endless(loader, epoch)
        made.parallel.train()

    def step(self, rate: float) -> float:
        """The loss of the next clips; then an optimizer step on them, the heads learning at ``rate``."""
        epoch, number, window = next(self._windows)
        for group, multiple in zip(self.stepper.made.optimizer.param_groups, self._multiples, strict=True):
            group["lr"] = rate * multiple
        counts, total = count_labelled(batch["labels"] for batch in window), 0.0
        for _, sums in self.stepper.backward(window, epoch, number, self.weights):
            total += mean_over_tasks(sums, counts, self.weights).item()
        self.stepper.update()
        return total

    def _endless(self, loader: ClipLoader, epoch: int) -> Iterator[tuple[int, int, list[Batch]]]:
        """Epoch, number of the step in it (from 1), and its batches."""
        while True:
            loader.set_epoch(epoch)
            for number, window in enumerate(windows(loader, self.stepper.config.accumulate), start=1):
                yield epoch, number, window
            epoch += 1
