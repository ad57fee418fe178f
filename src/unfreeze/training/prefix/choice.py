"""Whether the output of frozen blocks is kept, where, and behind which block: by what it costs and saves.

Whether it is kept at all is decided once, before the first epoch, and recorded with the run: it decides how
often training clips are varied anew. Where it is kept changes no number, only time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unfreeze.data import ClipDataset
from unfreeze.data.demo.files import cache_root
from unfreeze.freezer import Freezer
from unfreeze.history import History
from unfreeze.prefix.costs import Costs, suffix_seconds
from unfreeze.prefix.messages import decline_reason, expectation_line
from unfreeze.prefix.plan import Plan, plan
from unfreeze.prefix.profile import profile
from unfreeze.prefix.store import Tier, choose, measure_room
from unfreeze.strategies.base import BlockInfo, Strategy
from unfreeze.training.config import TrainConfig
from unfreeze.training.forecast import forecast
from unfreeze.training.precision import autocast
from unfreeze.training.prefix.transfer import transfer_costs

_QUICK = 0.1  # seconds per clip


@dataclass(frozen=True)
class Planner:
    """Plans from any point of a run on.

    Attributes:
        rows: of all training clips, and of all validation clips.
        refresh: share of the training clips that is drawn anew in each epoch; 1 where none is kept.
        limit: bytes that may be kept; None is any number.
    """

    strategy: Strategy
    blocks: tuple[BlockInfo, ...]
    epochs: int
    rows: tuple[int, int]
    refresh: float
    costs: Costs
    limit: int | None = None

    def plan(self, history: History, *, filled: int = 0) -> Plan:
        """For the epochs after ``history``, should the monitored metric never improve."""
        ahead = forecast(self.strategy, self.blocks, history, self.epochs)
        return plan(
            ahead.boundaries,
            train_rows=self.rows[0],
            val_rows=self.rows[1],
            refresh=self.refresh,
            costs=self.costs,
            filled=filled,
            limit=self.limit,
            started=bool(history.records),
        )


@dataclass(frozen=True)
class Choice:
    """What is kept.

    Attributes:
        line: says it, for the log.
        training: whether training clips are kept, too; validation clips are in any case.
        tier: where; None keeps nothing.
        always: it was asked for, so something is kept wherever something is frozen.
        planned: for the epochs to come, as of the start.
    """

    line: str
    training: bool = False
    tier: Tier | None = None
    planner: Planner | None = None
    always: bool = False
    planned: Plan | None = None

    @property
    def on(self) -> bool:
        """Whether anything is kept at all."""
        return self.tier is not None

    def keeps(self, split: str) -> bool:
        """Whether clips of a split are kept."""
        return self.on and (self.training or split != "train")

    def reads(self, epochs: int) -> tuple[float, bool]:
        """How often a training clip is decoded in so many epochs; whether a validation clip is so once."""
        if self.planned is None:
            return epochs, False
        often = self.planned.refresh if self.training else 1.0
        later = self.planned.boundaries[1:]
        return 1 + sum(often if frozen else 1.0 for frozen in later), all(self.planned.cached)

    def decided(self) -> dict[str, Any]:
        """What the run that goes on has to know: plain data."""
        return {"on": self.on, "training": self.training}

    def boundary(self, history: History, boundary: int, *, filled: int) -> int:
        """Behind how many blocks the next epoch keeps its clips; 0 is none.

        Args:
            history: of the epochs so far.
            boundary: the number of leading blocks that are frozen in the next one.
            filled: the boundary of the cache as it is.
        """
        assert self.planner is not None, "who keeps has a plan"
        planned = self.planner.plan(history, filled=min(filled, boundary))
        return planned.cached[0] or (boundary if self.always else 0)


def choose_cache(
    config: TrainConfig,
    freezer: Freezer,
    device: torch.device,
    datasets: Mapping[str, ClipDataset],
    example: Tensor,
    decode: float,
    decided: Mapping[str, Any] | None = None,
) -> Choice:
    """What the flags, the model and the clips come to.

    Args:
        config: with epochs resolved.
        datasets: by split, ``train`` and ``val``.
        example: (N, C, T, H, W): clips on which blocks are timed.
        decode: seconds that loading a clip takes off the run.
        decided: what was recorded by the run that goes on.

    Raises:
        ValueError: what was asked for has no room; one line names the flag.
    """
    if config.cache == "off":
        return Choice("Prefix cache: off")
    assert config.epochs is not None, "epochs are resolved before"
    sizes = freezer.anatomy.sizes(freezer.model)
    blocks = tuple(BlockInfo(part.name, sizes[part.name]) for part in freezer.anatomy.blocks)
    names = [block.name for block in blocks]
    rows = tuple(sum(map(datasets[s].rows, range(len(datasets[s])))) for s in ("train", "val"))
    with autocast(device, config.precision):
        measured = profile(freezer.model, freezer.anatomy, example.to(device))
        if sum(measured.seconds) < _QUICK:  # what a call takes by itself counts for less among many clips
            several = example.repeat(-(-config.batch_size // len(example)), 1, 1, 1, 1)
            measured = profile(freezer.model, freezer.anatomy, several.to(device))
    folder = _folder(config)
    room = measure_room(folder, device)
    read, write = transfer_costs(folder if config.cache == "disk" and room.disk is not None else None)
    costs = Costs(decode, measured, read, write, suffix=suffix_seconds(measured, *rows))
    refresh = 1.0 if config.cutmix else config.cache_refresh
    planner = Planner(freezer.strategy, blocks, config.epochs, (rows[0], rows[1]), refresh, costs)
    wanted = planner.plan(freezer.history)
    always, goes_on = config.cache != "auto", decided is not None and decided["on"]
    if not any(wanted.boundaries):
        return Choice("Prefix cache: off, as no block at the input stays frozen")
    if decided is not None and not decided["on"]:
        return Choice("Prefix cache: off, as before")
    if not (always or goes_on) and (reason := decline_reason(wanted)):
        return Choice(f"Prefix cache: off, as {reason}")

    nbytes = wanted.bytes or sum(rows) * max(measured.nbytes)
    tier = choose(config.cache, nbytes, room, config.cache_gb)
    if tier.memory is None and tier.folder is None:
        return Choice(f"Prefix cache: {tier.line}")
    planner = replace(planner, limit=None if always else tier.limit)
    final = planner.plan(freezer.history)
    training = refresh < 1 and (always or final.training) if decided is None else decided["training"]
    ahead = forecast(freezer.strategy, blocks, freezer.history, config.epochs)
    if any(final.cached):
        first = len(freezer.history.records) + 1
        line = expectation_line(final, names, tier.line, first_epoch=first, at_least=not ahead.time_driven)
    else:
        line = f"Prefix cache: {tier.line}"
    return Choice(line, training, tier, planner, always, final)


def _folder(config: TrainConfig) -> Path:
    return cache_root() / "prefix" if config.cache_dir is None else Path(config.cache_dir).expanduser()
