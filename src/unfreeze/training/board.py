"""TensorBoard events of a run: losses, metrics, learning rates, and what is frozen when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FROZEN, TRAINABLE = (0.80, 0.86, 0.92), (0.90, 0.45, 0.13)
_CELL = 12


class Board:
    """Writes events into a run folder.

    Args:
        folder: the run folder.
        blocks: the backbone's blocks, from input to output.
        first_epoch: the first epoch to come; TensorBoard drops what a killed run had written from it on.
    """

    def __init__(self, folder: Path, blocks: Sequence[str], first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.blocks = tuple(blocks)
        self.writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def write(self, epoch: int, scalars: Mapping[str, float], trained: Sequence[Sequence[str]]) -> None:
        """One epoch: ``scalars`` by tag, and the blocks that trained in each epoch up to this one."""
        for tag, value in scalars.items():
            self.writer.add_scalar(tag, value, epoch)
        self.writer.add_image("blocks/trainable", freeze_map(self.blocks, trained), epoch, dataformats="HWC")
        names = "\n".join(f"- `{name}`" for name in reversed(self.blocks) if name in trained[-1])
        self.writer.add_text("blocks/trainable", names or "none: the backbone is frozen", epoch)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def freeze_map(blocks: Sequence[str], trained: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """A picture (height, width, 3) in 0…1: a row per block, the output on top, and a column per epoch."""
    cells = np.array([[name in epoch for epoch in trained] for name in reversed(blocks)], dtype=bool)
    colours = np.where(cells[..., None], TRAINABLE, FROZEN).astype(np.float32)
    return colours.repeat(_CELL, axis=0).repeat(_CELL, axis=1)
