"""No freezing: full fine-tuning from the first step, the baseline that every schedule is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from unfreeze.history import History
from unfreeze.strategies.base import BlockInfo, Decision, Strategy, total_parameters


@dataclass(frozen=True)
class NoFreezing(Strategy):
    """Everything trains in every epoch."""

    name: ClassVar[str] = "none"

    def decide(self, history: History, blocks: Sequence[BlockInfo]) -> Decision:
        names = tuple(block.name for block in blocks)
        return Decision(history.next_epoch, names, "everything trains", target=total_parameters(blocks))
