"""Head only: the backbone is a fixed feature extractor, the cheapest baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from unfreeze.history import History
from unfreeze.strategies.base import BlockInfo, Decision, Strategy


@dataclass(frozen=True)
class HeadOnly(Strategy):
    """Only the heads train, in every epoch."""

    name: ClassVar[str] = "head_only"

    def decide(self, history: History, blocks: Sequence[BlockInfo]) -> Decision:
        return Decision(history.next_epoch, (), "only the heads train", target=0)
