"""Whether the output of frozen blocks is kept, where, and behind which block: by what it costs and saves.

What is decided here by the clock changes no number of a run. How often training clips are drawn anew does, so
it follows from flags, strategy and room alone, and is recorded with the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unfreeze.data import ClipDataset
from unfreeze.data.demo.files import cache_root
from unfreeze.history import History
from unfreeze.prefix.costs import Costs
from unfreeze.prefix.messages import decline_reason, expectation_line
from unfreeze.prefix.plan import Plan, plan
from unfreeze.prefix.store import Room, Tier, choose
from unfreeze.strategies.base import BlockInfo, Strategy, percent
from unfreeze.training.config import TrainConfig
from unfreeze.training.forecast import Forecast, forecast


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

    def ahead(self, history: History) -> Forecast:
        """The boundaries of the epochs after ``history``, should the monitored metric never improve."""
        return forecast(self.strategy, self.blocks, history, self.epochs)

    def plan(self, history: History, *, filled: int = 0) -> Plan:
        """For the epochs after ``history``."""
        return plan(
            self.ahead(history).boundaries,
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
        training: training clips are shown as if they were kept: drawn anew only now and then, and mixed
            behind the boundary. Otherwise only validation clips are kept.
        tier: where; None keeps nothing.
        planner: None where nothing is kept.
        always: it was asked for, so clips are kept wherever something is frozen.
        here: clips are kept at the present boundary only, because rounding them at others would be another
            rounding.
        planned: for the epochs to come, as of the start.
    """

    line: str
    training: bool = False
    tier: Tier | None = None
    planner: Planner | None = None
    always: bool = False
    here: bool = False
    planned: Plan | None = None

    @property
    def on(self) -> bool:
        """Whether anything is kept at all."""
        return self.tier is not None

    @property
    def splits(self) -> tuple[str, ...]:
        """Whose clips are kept."""
        if not self.on:
            return ()
        return ("train", "val") if self.training else ("val",)

    def reads(self, config: TrainConfig, epochs: int) -> tuple[float, bool]:
        """How often a training clip is decoded in so many epochs; whether a validation clip is so once."""
        if self.planned is None:
            return epochs, False
        often = config.cache_refresh if self.training else 1.0
        later = self.planned.boundaries[1:]
        return 1 + sum(often if frozen else 1.0 for frozen in later), all(self.planned.cached)

    def boundary(self, history: History, boundary: int, *, filled: int) -> tuple[int, int]:
        """Behind how many blocks the next epoch keeps its clips (0 is nowhere), and where it has them from: a
        lower boundary, or 0 for the clips themselves.

        Args:
            history: of the epochs so far.
            boundary: the number of leading blocks that are frozen in the next one.
            filled: the boundary of the cache as it is.
        """
        assert self.planner is not None, "who keeps has a plan"
        if self.here:
            return boundary, 0
        planned = self.planner.plan(history, filled=filled if filled <= boundary else 0)
        if self.always and not planned.cached[0]:
            return boundary, filled if filled < boundary else 0
        return planned.cached[0], planned.sources[0]

    def decided(self) -> dict[str, Any]:
        """What the run that goes on has to know: plain data."""
        return {"training": self.training}


def choose_cache(
    config: TrainConfig,
    planner: Planner,
    history: History,
    room: Room,
    filled: Callable[[Tier, bool], int],
    decided: Mapping[str, Any] | None = None,
) -> Choice:
    """What the flags, the model and the clips come to.

    Args:
        config: with epochs resolved.
        planner: without a limit.
        history: of the epochs so far.
        filled: the boundary at which an earlier run has left clips in a tier, whether or not with training
            clips; 0 where it has not.
        decided: what was recorded by the run that goes on.

    Raises:
        ValueError: what was asked for has no room; one line names the flag.
    """
    assert config.cache != "off", "who keeps nothing chooses no place"
    always, here = config.cache != "auto", config.cache_dtype != "produced"
    wanted = planner.plan(history)
    # also in a run of one epoch: it may be made longer, to the numbers of one that was as long from the start
    training = planner.refresh < 1 if decided is None else bool(decided["training"])
    if not training:
        planner = replace(planner, refresh=1.0)  # as clips are shown, so they are planned
        wanted = planner.plan(history)
    tier = choose(config.cache, _bytes(wanted, planner, training), room, config.cache_gb)
    if tier.memory is None and tier.folder is None:
        # for lack of room, which does not come and go like time: clips need not be shown as if they were kept
        return Choice(f"Prefix cache: {tier.line}", training and decided is not None)
    planner = replace(planner, limit=None if always else tier.memory_limit or tier.limit)
    there = filled(tier, training)
    final = planner.plan(history, filled=there if there <= wanted.boundaries[0] else 0)
    if not always and (reason := decline_reason(final)):
        return Choice(f"Prefix cache: off, as {reason}", training)
    return Choice(
        _line(config, planner, history, final, tier, training, there),
        training,
        tier,
        planner,
        always,
        here,
        final,
    )


def _line(
    config: TrainConfig,
    planner: Planner,
    history: History,
    final: Plan,
    tier: Tier,
    training: bool,
    there: int,
) -> str:
    only = "" if training else "validation clips only, "
    if config.cutmix:
        only = "validation clips only (--cutmix pastes pixels), "
    if not any(final.cached) or config.cache_dtype != "produced":
        line = f"Prefix cache: behind the last frozen block, {only}{tier.line}"
    else:
        line = expectation_line(
            final,
            [block.name for block in planner.blocks],
            f"{only}{tier.line}",
            first_epoch=len(history.records) + 1,
            at_least=not planner.ahead(history).time_driven,
        )
    if there:
        line += f"; an earlier run left clips behind {planner.blocks[there - 1].name}"
    if training:
        line += (
            f"; each epoch draws {percent(config.cache_refresh)} of the training clips anew (--cache_refresh)"
        )
    return line


def cache_folder(config: TrainConfig) -> Path:
    """Of the caches on disk."""
    return cache_root() / "prefix" if config.cache_dir is None else Path(config.cache_dir).expanduser()


def rows_of(dataset: ClipDataset) -> int:
    """Of all its samples."""
    return sum(dataset.rows(index) for index in range(len(dataset)))


def _bytes(wanted: Plan, planner: Planner, training: bool) -> int:
    """That the plan keeps at most; where it keeps nothing, what the largest activations would take."""
    rows = planner.rows[1] + (planner.rows[0] if training else 0)
    sizes = planner.costs.profile.nbytes
    at = [c for c in wanted.cached if c] or [max(wanted.boundaries)]
    return max(wanted.bytes, rows * max(sizes[c] for c in at))
