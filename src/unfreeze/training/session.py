"""All that a run is made of, and what is written down about it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from unfreeze import __version__
from unfreeze.data import ClipLoader
from unfreeze.data.clip_cache import ClipCache
from unfreeze.freezer import Freezer, Transition
from unfreeze.history import Mode
from unfreeze.models import VideoClassifier
from unfreeze.report.console import RunConsole
from unfreeze.report.lines import epoch_lines, params_lines, transition_lines
from unfreeze.report.record import epoch_record
from unfreeze.strategies import Strategy
from unfreeze.training.assembly import Assembly
from unfreeze.training.board import Board
from unfreeze.training.checkpoint import FORMAT, describe_model, save_checkpoint
from unfreeze.training.class_report import class_reports
from unfreeze.training.config import TrainConfig, plain, resolved
from unfreeze.training.early_stopping import stopped_early
from unfreeze.training.ema import Ema
from unfreeze.training.evaluate import Evaluation
from unfreeze.training.forward import Forward
from unfreeze.training.interrupt import Interrupt
from unfreeze.training.prefix.engine import PrefixEngine
from unfreeze.training.rundir import RunDir, explained
from unfreeze.training.step import Stepper
from unfreeze.training.tally import Trained
from unfreeze.training.time_limit import out_of_time, parse_time_limit
from unfreeze.wording import in_seconds


@dataclass
class Session:
    """The parts of a run; ``run.py`` builds it, ``loop.py`` works with it.

    Attributes:
        made: the model and what trains it.
        stepper: takes optimizer steps.
        ema: averages of the weights, which are what is evaluated and saved as the best; or None.
        evaluation: from validation batches to logits.
        engine: runs frozen blocks, and keeps what they make; or None.
        cache: of decoded clips, or None.
        mode: ``max`` or ``min``, for the monitored metric.
        data: fingerprint of the clips and labels.
        class_counts: task -> class -> training clips.
        started: when the run, or what was resumed of it, began: ``time.monotonic()``.
        resumed: the epochs that were done before.
        prefix: what was decided for the engine then, if there was one.
        rows: a record per finished epoch, as in ``metrics.jsonl``.
        best: ``{"epoch": …, "value": …}`` of the best monitored metric so far, or None.
    """

    config: TrainConfig
    strategy: Strategy
    device: torch.device
    made: Assembly
    stepper: Stepper
    evaluation: Forward
    engine: PrefixEngine | None
    ema: Ema | None
    cache: ClipCache | None
    train_loader: ClipLoader
    val_loader: ClipLoader
    mode: Mode
    data: str
    class_counts: Mapping[str, Mapping[str, int]]
    run_dir: RunDir
    board: Board
    console: RunConsole
    interrupt: Interrupt
    started: float
    resumed: int = 0
    prefix: Mapping[str, Any] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None

    @property
    def epochs(self) -> int:
        assert self.config.epochs is not None, "epochs are resolved before a session is built"
        return self.config.epochs

    @property
    def model(self) -> VideoClassifier:
        return self.made.model

    @property
    def freezer(self) -> Freezer:
        return self.made.freezer

    def say(self, lines: Sequence[str]) -> None:
        """Lines for the user, on the console and in ``train.log``."""
        for line in lines:
            self.console.print(line)
        self.run_dir.log(lines)

    def reason_to_end(self) -> str | None:
        """Why the run ends before its next epoch, in words for the log, or None where it goes on."""
        reason = stopped_early(self.rows, self.config.early_stopping, self.mode)
        if reason is not None or self.config.time_limit is None:
            return reason
        limit = parse_time_limit(self.config.time_limit)
        seconds = [row["seconds"] for row in self.rows]
        if not out_of_time(time.monotonic() - self.started, seconds, limit):
            return None
        return (
            f"another epoch, of about {in_seconds(max(seconds))}, would pass --time_limit "
            f"{self.config.time_limit}; continue with --resume {self.run_dir.path}"
        )

    def averaged_weights(self) -> AbstractContextManager[object]:
        """In it, the model has the averaged weights, where there are any."""
        return nullcontext() if self.ema is None else self.ema.applied()

    def announce(self, transition: Transition) -> None:
        """What changes with this epoch, and what trains in it."""
        status = self.freezer.status()
        self.say(transition_lines(transition, status, self.strategy.name))
        self.say(params_lines(status, transition.epoch))

    def finish_epoch(
        self,
        transition: Transition,
        metrics: Mapping[str, float],
        rates: Mapping[str, float],
        trained: Trained,
        evaluated: Evaluation,
        seconds: float,
    ) -> None:
        """Record, show and save a finished epoch.

        ``last.pt`` comes last: it is what counts, and a resumed run cuts ``metrics.jsonl`` and the events
        back to it, so it does not matter at what moment a run is killed.
        """
        value = metrics[self.config.monitor]
        better = self._is_best(value)
        if better:
            self.best = {"epoch": transition.epoch, "value": value}
        status = self.freezer.status()
        times = {
            "seconds": seconds,
            "clips_per_second": trained.clips / trained.seconds,
            "data_wait": trained.waited / trained.seconds,
        }
        row = epoch_record(
            transition,
            status,
            metrics=metrics,
            monitor=self.config.monitor,
            best=self.best,
            learning_rates=rates,
            **times,
        )
        self.rows.append(row)
        self.say(epoch_lines(row))
        if better:
            with self.averaged_weights():
                save_checkpoint(self.run_dir.best, self._content())
            reports = class_reports(evaluated, self.model.tasks, self.model.multilabel)
            self.run_dir.write_classes({"epoch": transition.epoch, "split": "val", "tasks": reports})
        for kept in (self.cache, self.engine):
            if kept is not None:
                self.say(kept.notes())
        self.run_dir.append(row)
        scalars = dict(metrics) | {f"learning_rate/{name}": rate for name, rate in rates.items()}
        scalars |= {f"time/{name}": number for name, number in times.items()}
        scalars["parameters/trainable"] = status.trainable
        trainable = [record.trainable for record in self.freezer.history.records]
        with explained(f"cannot write TensorBoard events in {self.run_dir.path}"):
            self.board.write(transition.epoch, scalars, trainable)
        self.save_last()

    def save_last(self) -> None:
        """``last.pt``: the run as it stands after ``rows``, with all that going on needs."""
        state = {
            "freezer": self.freezer.state_dict(),
            "optimizer": self.made.optimizer.state_dict(),
            "schedule": self.made.schedule.state_dict(),
            "scaler": self.made.scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "prefix": self.prefix if self.engine is None else self.engine.choice.decided(),
        }
        save_checkpoint(self.run_dir.last, self._content() | {"training": state})

    def _is_best(self, value: float) -> bool:
        if not math.isfinite(value) or self.best is None:
            return math.isfinite(value)
        return value < self.best["value"] if self.mode == "min" else value > self.best["value"]

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": __version__,
            "model": describe_model(self.model, self.config.model, self.freezer.anatomy.to_dict()),
            "config": resolved(self.config, self.strategy),
            "strategy": {"name": self.strategy.name, "fields": plain(asdict(self.strategy))},
            "data": self.data,
            "class_counts": plain(self.class_counts),
            "epoch": len(self.rows),
            "rows": plain(self.rows),
            "best": self.best,
        }
