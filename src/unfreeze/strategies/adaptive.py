"""Adaptive unfreezing: thaw the next block when the validation metric has stopped improving.

The plateau rule is that of early stopping (Prechelt, "Early Stopping - But When?", 1998): a best value, and a
count of epochs that did not beat it by an absolute threshold. It acts after ``patience`` such epochs, where
``torch.optim.lr_scheduler.ReduceLROnPlateau(threshold_mode="abs")`` waits for one more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from unfreeze.history import EpochRecord, History
from unfreeze.options import nearest, option
from unfreeze.strategies.base import BlockInfo, Decision, Strategy, last_blocks, total_parameters

# In floats 0.505 - 0.5 > 0.005, and metrics often come rounded to float32. Two such roundings are at most
# 2**-23 of the larger value; twice that is still far below any improvement that means something.
_ROUNDING = 2.0**-22


@dataclass(frozen=True)
class _State:
    """Where the rule stands after some epochs; ``plateau`` is true for the one epoch that ended a plateau."""

    best: float | None = None
    best_epoch: int = 0
    waited: int = 0
    thawed: int = 0
    plateau: bool = False


@dataclass(frozen=True)
class Adaptive(Strategy):
    """Thaw one more block after ``patience`` epochs in a row that did not beat the best monitored metric.

    An epoch beats the best when it is better by more than ``min_improvement``; only then it becomes the best.
    A difference that equals ``min_improvement`` but for rounding (2**-22 of the value) is no improvement. The
    count starts anew after a thaw and the best stays. An epoch whose metric is not finite is neither an
    improvement nor part of a plateau, and the decision after it warns.
    """

    name: ClassVar[str] = "adaptive"

    patience: int = option(2, "epochs in a row without improvement after which the next block thaws", ge=1)
    min_improvement: float = option(
        0.005,
        "an epoch improves when its metric beats the best by more than this (in the metric's units)",
        ge=0,
    )

    def decide(self, history: History, blocks: Sequence[BlockInfo]) -> Decision:
        """The blocks for the next epoch, replayed from the monitored metric of all epochs so far.

        Raises:
            ValueError: an epoch does not report the metric, or nothing says which of several to watch.
        """
        epoch, total = history.next_epoch, total_parameters(blocks)
        if not history.records:
            reason = "the backbone is frozen until the metric stops improving"
            return Decision(epoch, (), reason, target=total, measured=True)
        metric, mode = history.watched()
        most = sum(block.parameters > 0 for block in blocks)
        state = _State()
        for number, value in _values(history.records, metric):
            state = self._after(state, number, value if mode == "max" else -value, most)
        reason = f"{metric} {value:.4g}, {self._standing(state, mode, most)}"
        warnings = () if math.isfinite(value) else (self._warning(metric, number, value),)
        trainable = last_blocks(blocks, state.thawed)
        return Decision(epoch, trainable, reason, target=total, warnings=warnings, measured=True)

    def _after(self, state: _State, epoch: int, value: float, most: int) -> _State:
        """The state after one more epoch; the higher its ``value`` the better; ``most`` blocks can thaw."""
        if not math.isfinite(value):
            return replace(state, plateau=False)
        if state.best is None or self._beats(value, state.best):
            return _State(value, epoch, 0, state.thawed)
        waited = state.waited + 1
        if waited < self.patience or state.thawed == most:
            return replace(state, waited=waited, plateau=False)
        return replace(state, waited=0, thawed=state.thawed + 1, plateau=True)

    def _beats(self, value: float, best: float) -> bool:
        return value - best > self.min_improvement + _ROUNDING * max(abs(value), abs(best))

    def _standing(self, state: _State, mode: str, most: int) -> str:
        if state.best is None:
            return "no best yet"
        best = state.best if mode == "max" else -state.best
        said = f"best {best:.4g} (epoch {state.best_epoch}), "
        if state.plateau:
            return f"{said}{self.patience} of {self.patience} epochs without improvement: thaw the next block"
        if state.thawed == most:
            return f"{said}{state.waited} epochs without improvement, the whole backbone trains already"
        return f"{said}{state.waited} of {self.patience} epochs without improvement"

    def _warning(self, metric: str, epoch: int, value: float) -> str:
        return (
            f"{metric} of epoch {epoch} is {value}: that epoch counts neither as an improvement nor as one "
            f"of the {self.patience} epochs without"
        )


def _values(records: Sequence[EpochRecord], metric: str) -> Iterator[tuple[int, float]]:
    for record in records:
        if metric not in record.metrics:
            there = ", ".join(record.metrics) or "nothing"
            raise ValueError(
                f"adaptive watches {metric!r}, but epoch {record.epoch} reports {there}"
                f"{nearest(metric, tuple(record.metrics))}"
            )
        yield record.epoch, record.metrics[metric]
