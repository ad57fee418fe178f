"""The training loop: an epoch is decided, trained, evaluated, recorded and saved, from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from unfreeze.training.evaluate import evaluate
from unfreeze.training.losses import count_labelled, mean_over_tasks
from unfreeze.training.mixing import mixed
from unfreeze.training.precision import autocast
from unfreeze.training.seeding import seed_epoch
from unfreeze.training.tally import Stopwatch, Totals, Trained
from unfreeze.training.task_weights import task_weights

if TYPE_CHECKING:
    from unfreeze.training.config import TrainConfig
    from unfreeze.training.mixing import Mix
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
        if s.ema is not None:
            s.ema.follow(transition)
        rates = s.freezer.learning_rates()

        trained = train_epoch(s, epoch)
        s.val_loader.set_epoch(epoch)
        validation = s.console.progress(f"Epoch {epoch} validation", total=len(s.val_loader))
        with validation as progress, s.averaged_weights():
            evaluated = evaluate(
                s.parallel,
                s.interrupt.watch(progress.track(s.val_loader)),
                tasks=tuple(s.model.tasks),
                device=s.device,
                precision=s.config.precision,
                multilabel=s.model.multilabel,
            )
        for task in s.model.tasks:
            _check_finite(task, evaluated.metrics[f"{task}/loss"], f"validation of epoch {epoch}", s.config)
        metrics: dict[str, Any] = {f"train/{name}": value for name, value in trained.losses.items()}
        metrics |= {f"val/{name}": value for name, value in evaluated.metrics.items()}

        s.schedule.step_epoch(metrics[s.config.monitor])
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
    s.parallel.train()
    s.train_loader.set_epoch(epoch)
    with s.console.progress(f"Epoch {epoch}/{s.epochs}", total=len(s.train_loader)) as progress:
        batches = s.interrupt.watch(progress.track(watch.over(s.train_loader)))
        for step, window in enumerate(windows(batches, config.accumulate), start=1):
            counts = count_labelled(batch["labels"] for batch in window)
            for number, batch in enumerate(window):
                # the labels of a batch are mixed among its clips, so that they count as before
                mix = s.mixing.draw(epoch, step, len(batch["index"]), first=number)
                logits = _forward(s, batch, mix)
                labels = {task: of_task.to(s.device) for task, of_task in batch["labels"].items()}
                sums = s.criterion.sums(logits, labels)
                if mix is not None:
                    sums = mixed(sums, s.criterion.sums(logits, mix.labels(labels)), mix.share)
                totals.add(sums, count_labelled([batch["labels"]]), clips=len(batch["index"]))
                for task, total in totals.sums.items():
                    _check_finite(task, total, f"epoch {epoch} at step {step}", config)
                s.scaler.scale(mean_over_tasks(sums, counts, weights)).backward()
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
                if s.ema is not None:
                    s.ema.update()
            progress.show(
                loss=totals.mean(), clips_per_second=watch.rate(totals.clips), waiting=watch.share()
            )
    return Trained(totals.losses(), totals.clips, watch.elapsed(), watch.waited)


def _forward(session: Session, batch: Mapping[str, Any], mix: Mix | None) -> dict[str, Tensor]:
    """Logits per task, (B, classes), of the clips of a batch as ``mix`` has them."""
    video, mask = batch["video"].to(session.device, non_blocking=True), batch["view_mask"]
    padded = not bool(mask.all())  # asked on the CPU, so that no GPU has to be waited for
    inputs = (video, mask.to(session.device)) if padded else (video,)
    if mix is not None:
        inputs = (mix.video(*inputs), *inputs[1:])
    with autocast(session.device, session.config.precision):
        logits: dict[str, Tensor] = session.parallel(*inputs)
    return logits


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
