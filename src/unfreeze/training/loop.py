"""The training loop: an epoch is decided, trained, evaluated, recorded and saved, from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from unfreeze.training.evaluate import evaluate
from unfreeze.training.losses import count_labelled, mean_over_tasks, summed_losses
from unfreeze.training.precision import autocast
from unfreeze.training.seeding import seed_epoch

if TYPE_CHECKING:
    from unfreeze.training.config import TrainConfig
    from unfreeze.training.session import Session

T = TypeVar("T")


def fit(session: Session) -> None:
    """Train from the epoch after the last recorded one to the end of the run.

    Raises:
        Interrupted: the user asked to stop; the files hold every whole epoch.
        ValueError: the loss is not finite, or a clip cannot be read.
        OSError: a file of the run cannot be written.
    """
    s = session
    for epoch in range(len(s.rows) + 1, s.epochs + 1):
        started = time.perf_counter()
        seed_epoch(s.config.seed, epoch)
        transition = s.freezer.start_epoch()
        s.announce(transition)
        rates = s.freezer.learning_rates()

        trained = train_epoch(s, epoch)
        s.val_loader.set_epoch(epoch)
        with s.console.progress(f"Epoch {epoch} validation", total=len(s.val_loader)) as progress:
            evaluated = evaluate(
                s.parallel,
                s.interrupt.watch(progress.track(s.val_loader)),
                tasks=tuple(s.model.tasks),
                device=s.device,
                precision=s.config.precision,
            )
        for task in s.model.tasks:
            _check_finite(task, evaluated.metrics[f"{task}/loss"], f"validation of epoch {epoch}", s.config)
        metrics: dict[str, Any] = {f"train/{name}": value for name, value in trained.losses.items()}
        metrics |= {f"val/{name}": value for name, value in evaluated.metrics.items()}

        s.schedule.step_epoch(metrics[s.config.monitor])
        s.freezer.end_epoch(**metrics)
        s.finish_epoch(transition, metrics, rates, trained, seconds=time.perf_counter() - started)


@dataclass
class Trained:
    """What an epoch of training measured: losses, clips, seconds, and those spent waiting for data."""

    losses: Mapping[str, float]
    clips: int
    seconds: float
    waited: float


def train_epoch(session: Session, epoch: int) -> Trained:
    """One pass over the training clips, an optimizer step for every ``accumulate`` batches.

    Raises:
        Interrupted: the user asked to stop.
        ValueError: the loss is not finite, or a clip cannot be read.
    """
    s, config = session, session.config
    totals, watch = _Totals(), _Stopwatch()
    s.parallel.train()
    s.train_loader.set_epoch(epoch)
    with s.console.progress(f"Epoch {epoch}/{s.epochs}", total=len(s.train_loader)) as progress:
        batches = s.interrupt.watch(progress.track(watch.over(s.train_loader)))
        for step, window in enumerate(windows(batches, config.accumulate), start=1):
            counts = count_labelled(batch["labels"] for batch in window)
            for batch in window:
                video = batch["video"].to(s.device, non_blocking=True)
                labels = {task: of_task.to(s.device) for task, of_task in batch["labels"].items()}
                with autocast(s.device, config.precision):
                    logits = s.parallel(video)
                sums = summed_losses(logits, labels, config.label_smoothing)
                totals.add(sums, count_labelled([batch["labels"]]), clips=len(video))
                for task, total in totals.sums.items():
                    _check_finite(task, total, f"epoch {epoch} at step {step}", config)
                s.scaler.scale(mean_over_tasks(sums, counts)).backward()
            if config.clip_grad_norm is not None:
                s.scaler.unscale_(s.optimizer)
                with_gradients = [p for p in s.model.parameters() if p.grad is not None]
                nn.utils.clip_grad_norm_(with_gradients, config.clip_grad_norm)
            scale = s.scaler.get_scale()
            s.scaler.step(s.optimizer)
            s.scaler.update()
            s.optimizer.zero_grad(set_to_none=True)
            if s.scaler.get_scale() >= scale:  # fp16 leaves out a step whose gradients overflowed
                s.schedule.step_batch()
            progress.show(
                loss=totals.mean(), clips_per_second=watch.rate(totals.clips), waiting=watch.share()
            )
    return Trained(totals.losses(), totals.clips, watch.elapsed(), watch.waited)


def windows(batches: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` batches each, the last one shorter where they do not come out even."""
    source = iter(batches)
    while window := list(islice(source, size)):
        yield window


@dataclass
class _Totals:
    """Sums over an epoch."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    clips: int = 0

    def add(self, sums: Mapping[str, Tensor], counts: Mapping[str, int], clips: int) -> None:
        for task, value in zip(sums, torch.stack([t.detach() for t in sums.values()]).tolist(), strict=True):
            self.sums[task] = self.sums.get(task, 0.0) + value
            self.counts[task] = self.counts.get(task, 0) + counts[task]
        self.clips += clips

    def losses(self) -> dict[str, float]:
        """``{"loss": mean over tasks, "<task>/loss": mean over its labelled clips}``."""
        by_task = {task: self.sums[task] / count for task, count in self.counts.items() if count}
        return {"loss": self.mean()} | {f"{task}/loss": value for task, value in by_task.items()}

    def mean(self) -> float:
        by_task = [self.sums[task] / count for task, count in self.counts.items() if count]
        return math.fsum(by_task) / len(by_task) if by_task else math.nan


class _Stopwatch:
    """How long an epoch has taken, and how much of that went into waiting for the next batch."""

    def __init__(self) -> None:
        self.started, self.waited = time.perf_counter(), 0.0

    def over(self, batches: Iterable[T]) -> Iterator[T]:
        source = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def share(self) -> float:
        return self.waited / self.elapsed()

    def rate(self, clips: int) -> float:
        return clips / self.elapsed()


def _check_finite(task: str, loss: float, where: str, config: TrainConfig) -> None:
    if not math.isfinite(loss):
        remedy = "" if config.precision == "fp32" else "--precision fp32, "
        raise ValueError(
            f"the loss of task {task!r} became {loss} in {where}; start again with "
            f"{remedy}a smaller --lr or --clip_grad_norm 1"
        )
