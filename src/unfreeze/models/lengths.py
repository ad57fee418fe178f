"""Does a backbone take clips of so many frames? Asked of the backbone itself, on the meta device."""

from __future__ import annotations

import torch

from unfreeze.models.registry import Backbone
from unfreeze.preprocessing import Preprocessing


def check_frames(row: Backbone, preprocessing: Preprocessing) -> None:
    """Whether the backbone runs on clips as long as ``preprocessing`` says.

    Raises:
        ValueError: it does not; the message says what it takes.
    """
    made_for = row.preprocessing().frames
    if preprocessing.frames == made_for or takes(row, preprocessing.frames, preprocessing.crop):
        return
    # it runs on the length that it was made for; if it does not on a multiple, that is the only one
    if not takes(row, 2 * made_for, preprocessing.crop):
        raise ValueError(f"--frames {preprocessing.frames}: {row.name} takes {made_for} frames")
    too_short, enough = preprocessing.frames, made_for
    while enough - too_short > 1:
        middle = (too_short + enough) // 2
        if takes(row, middle, preprocessing.crop):
            enough = middle
        else:
            too_short = middle
    raise ValueError(f"--frames {preprocessing.frames}: {row.name} takes {enough} frames or more")


def takes(row: Backbone, frames: int, crop: tuple[int, int]) -> bool:
    """Whether a forward pass on a clip of ``frames`` frames works. Shapes alone are computed: no memory, and
    hardly any time.
    """
    with torch.device("meta"), torch.no_grad():
        network = row.build().eval()
        try:
            network(torch.empty(1, 3, frames, *crop))
        except (RuntimeError, ValueError):  # a shape that does not fit fails anywhere inside
            return False
    return True
