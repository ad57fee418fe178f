"""The training loop: an epoch is decided, trained, evaluated, recorded and saved, from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from unfreeze.training.evaluate import evaluate
from unfreeze.training.losses import count_labelled
from unfreeze.training.seeding import seed_epoch
from unfreeze.training.tally import Stopwatch, Totals, Trained
from unfreeze.training.task_weights import task_weights

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
        if (reason := s.reason_to_end()) is not None:
            s.say([f"[STOP] Ending after epoch {epoch - 1} of {s.epochs}: {reason}"])
            return
        started = time.perf_counter()
        seed_epoch(s.config.seed, epoch)
        transition = s.freezer.start_epoch()
        s.announce(transition)
        if s.engine is not None:
            s.say(s.engine.start_epoch(transition))
        if s.ema is not None:
            s.ema.follow(transition)
        rates = s.freezer.learning_rates()

        trained = train_epoch(s, epoch)
        s.val_loader.set_epoch(epoch)
        validation = s.console.progress(f"Epoch {epoch} validation", total=len(s.val_loader))
        with validation as progress, s.averaged_weights():
            evaluated = evaluate(
                s.evaluation,
                s.interrupt.watch(progress.track(s.val_loader)),
                tasks=tuple(s.model.tasks),
                multilabel=s.model.multilabel,
            )
        for task in s.model.tasks:
            _check_finite(task, evaluated.metrics[f"{task}/loss"], f"validation of epoch {epoch}", s.config)
        metrics: dict[str, Any] = {f"train/{name}": value for name, value in trained.losses.items()}
        metrics |= {f"val/{name}": value for name, value in evaluated.metrics.items()}

        s.made.schedule.step_epoch(metrics[s.config.monitor])
        s.freezer.end_epoch(**metrics)
        s.finish_epoch(transition, metrics, rates, trained, evaluated, seconds=time.perf_counter() - started)


def train_epoch(session: Session, epoch: int) -> Trained:
    """One pass over the training clips, an optimizer step for every ``accumulate`` batches.

    Raises:
        Interrupted: the user asked to stop.
        ValueError: the loss is not finite, or a clip cannot be read.
    """
    s, config = session, session.config
    totals, watch = Totals(), Stopwatch()
    weights = task_weights(config.task_weights, tuple(s.model.tasks), s.rows)
    s.made.parallel.train()
    s.train_loader.set_epoch(epoch, refresh=1.0 if s.engine is None else s.engine.refresh)
    title = f"Epoch {epoch}/{s.epochs}"
    with ExitStack() as stack, s.console.progress(title, total=len(s.train_loader)) as progress:
        ready = stack.enter_context(closing(s.stepper.forward.over(s.train_loader, watch.over)))
        batches = s.interrupt.watch(progress.track(ready))
        for step, window in enumerate(windows(batches, config.accumulate), start=1):
            for batch, sums in s.stepper.backward(window, epoch, step, weights):
                totals.add(sums, count_labelled([batch["labels"]]), clips=len(batch["index"]))
                for task, total in totals.sums.items():
                    _check_finite(task, total, f"epoch {epoch} at step {step}", config)
            if s.stepper.update():
                s.made.schedule.step_batch()
                if s.ema is not None:
                    s.ema.update()
            progress.show(
                loss=totals.mean(), clips_per_second=watch.rate(totals.clips), waiting=watch.share()
            )
    return Trained(totals.losses(), totals.clips, watch.elapsed(), watch.waited)


def windows(batches: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` batches each, the last one shorter where they do not come out even."""
    source = iter(batches)
    while window := list(islice(source, size)):
        yield window


def _check_finite(task: str, loss: float, where: str, config: TrainConfig) -> None:
    if not math.isfinite(loss):
        remedy = "" if config.precision == "fp32" else "--precision fp32, "
        raise ValueError(
            f"the loss of task {task!r} became {loss} in {where}; start again with "
            f"{remedy}a smaller --lr or --clip_grad_norm 1"
        )
