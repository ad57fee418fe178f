"""Early gradual unfreezing: one epoch for the head alone, then block by block from the output backwards.

Gradual unfreezing is due to Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification",
ACL 2018, section 3.3; stopping at a share of the backbone is this project's.
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
class EarlyGradual(Strategy):
    """Freeze for ``freeze_epochs``, then thaw ``blocks_per_epoch`` in each epoch up to ``target_ratio``."""

    name: ClassVar[str] = "early_gradual"

    freeze_epochs: int = option(1, "epochs in which the whole backbone stays frozen", ge=0)
    blocks_per_epoch: int = option(1, "blocks to thaw at the start of each later epoch", ge=1)
    target_ratio: float = option(0.5, "share of the backbone's parameters to thaw in the end", ge=0, le=1)

    def decide(self, history: History, blocks: Sequence[BlockInfo]) -> Decision:
        epoch = history.next_epoch
        target = target_parameters(blocks, self.target_ratio)
        enough = blocks_to_reach(blocks, target)
        thawed = min(max(epoch - self.freeze_epochs, 0) * self.blocks_per_epoch, enough)
        if epoch <= self.freeze_epochs:
            reason = f"the backbone is frozen through epoch {self.freeze_epochs}"
        elif thawed < enough:
            reason = f"{thawed} of {enough} blocks on the way to {percent(self.target_ratio)} of the backbone"
        else:
            reason = f"the target of {percent(self.target_ratio)} of the backbone is reached"
        return Decision(epoch, last_blocks(blocks, thawed), reason, target=target)
