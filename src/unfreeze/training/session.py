"""All that a run is made of, and what is written down about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from unfreeze import __version__
from unfreeze.freezer import Freezer, Transition
from unfreeze.models import VideoClassifier
from unfreeze.report.console import RunConsole
from unfreeze.report.lines import epoch_lines, params_lines, transition_lines
from unfreeze.report.record import epoch_record
from unfreeze.strategies import Strategy
from unfreeze.training.board import Board
from unfreeze.training.checkpoint import FORMAT, describe_model, save_checkpoint
from unfreeze.training.config import TrainConfig, plain, resolved
from unfreeze.training.interrupt import Interrupt
from unfreeze.training.rundir import RunDir, explained
from unfreeze.training.tally import Trained


@dataclass
class Session:
    """The parts of a run; ``run.py`` builds it, ``loop.py`` works with it.

    Attributes:
        model: the bare model.
        parallel: what batches go through: the model, or an ``nn.DataParallel`` of it.
        mode: ``max`` or ``min``, for the monitored metric.
        data: fingerprint of the clips and labels.
        rows: a record per finished epoch, as in ``metrics.jsonl``.
        best: ``{"epoch": …, "value": …}`` of the best monitored metric so far, or None.
    """

    config: TrainConfig
    strategy: Strategy
    device: torch.device
    model: VideoClassifier
    parallel: nn.Module
    freezer: Freezer
    optimizer: torch.optim.Optimizer
    schedule: Any
    scaler: torch.amp.GradScaler
    train_loader: Any
    val_loader: Any
    mode: str
    data: str
    run_dir: RunDir
    board: Board
    console: RunConsole
    interrupt: Interrupt
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None

    @property
    def epochs(self) -> int:
        assert self.config.epochs is not None, "epochs are resolved before a session is built"
        return self.config.epochs

    def say(self, lines: Sequence[str]) -> None:
        """Lines for the user, on the console and in ``train.log``."""
        for line in lines:
            self.console.print(line)
        self.run_dir.log(lines)

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
            save_checkpoint(self.run_dir.best, self._content())
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
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
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
            "epoch": len(self.rows),
            "rows": plain(self.rows),
            "best": self.best,
        }
