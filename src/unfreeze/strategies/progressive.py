"""Progressive unfreezing: a timetable, so many blocks every so many epochs from the output backwards.

Gradual unfreezing is due to Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification",
ACL 2018, section 3.3, where it is one layer an epoch; interval, step and target are this project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from unfreeze.history import History
from unfreeze.options import option
from unfreeze.strategies.base import (
    BlockInfo,
    Decision,
    Strategy,
    blocks_to_reach,
    last_blocks,
    percent,
    target_parameters,
)


@dataclass(frozen=True)
class Progressive(Strategy):
    """Thaw ``blocks_per_step`` blocks in ``start_epoch`` and every ``interval`` epochs on, to the target."""

    name: ClassVar[str] = "progressive"

    start_epoch: int = option(2, "epoch (from 1) that starts with the first thaw", ge=1)
    interval: int = option(2, "epochs from one thaw to the next", ge=1)
    blocks_per_step: int = option(1, "blocks to thaw each time", ge=1)
    target_ratio: float = option(1.0, "share of the backbone's parameters to thaw in the end", ge=0, le=1)

    def decide(self, history: History, blocks: Sequence[BlockInfo]) -> Decision:
        epoch = history.next_epoch
        target = target_parameters(blocks, self.target_ratio)
        enough = blocks_to_reach(blocks, target)
        steps = max(0, (epoch - self.start_epoch) // self.interval + 1)
        thawed = min(steps * self.blocks_per_step, enough)
        if thawed == enough:
            reason = f"the target of {percent(self.target_ratio)} of the backbone is reached"
        else:
            upcoming = self.start_epoch + steps * self.interval
            reason = f"{thawed} of {enough} blocks train, the next thaw is at the start of epoch {upcoming}"
        return Decision(epoch, last_blocks(blocks, thawed), reason, target=target)
