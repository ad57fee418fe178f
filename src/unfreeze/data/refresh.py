"""How often a training clip is shown anew: a pure function of (seed, epoch, index).

What a frozen block makes of a clip can be kept only as long as the clip looks the same. So a clip is shown as
it was drawn in an earlier epoch, its *view epoch*, until its turn comes to be drawn anew. In each epoch after
the first that happens to every clip with the same probability, ``refresh``, on its own: the clips of an epoch
are of all ages, and none waits for the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unfreeze.data.seeds import derive_seed

# apart from the seeds of clips, which are made of (seed, epoch, index), and of their order: (seed, epoch)
_STREAM = 0x72656672


def view_epoch(seed: int, epoch: int, index: int, refresh: float) -> int:
    """The epoch whose draw the clip ``index`` shows in ``epoch``: the latest of 1 … ``epoch`` in which it was
    drawn anew. All are in epoch 1.

    Args:
        refresh: probability, from 0 (as in epoch 1 for ever) to 1 (anew in every epoch). A clip that is drawn
            anew with some probability is so with any larger one, too.
    """
    assert epoch >= 1, f"epochs count from 1, not {epoch}"
    if refresh <= 0:
        return 1
    while epoch > 1 and not _draw(seed, epoch, index) < refresh:
        epoch -= 1
    return epoch


def view_epochs(seed: int, epoch: int, count: int, refresh: float) -> NDArray[np.int64]:
    """(count,): ``view_epoch`` of each of ``range(count)``, much faster than one by one."""
    assert epoch >= 1, f"epochs count from 1, not {epoch}"
    if refresh >= 1:
        return np.full(count, epoch)
    found = np.ones(count, np.int64)
    if refresh <= 0:
        return found
    waiting = np.arange(count)
    for earlier in range(epoch, 1, -1):
        fresh = _draws(seed, earlier, count)[waiting] < refresh
        found[waiting[fresh]] = earlier
        waiting = waiting[~fresh]
        if not len(waiting):
            break
    return found


def _draws(seed: int, epoch: int, count: int) -> NDArray[np.float64]:
    """(count,): uniform in [0, 1), one for each clip, whatever their number."""
    return _uniform(np.asarray(_stream(seed, epoch).random_raw(count)))


def _draw(seed: int, epoch: int, index: int) -> float:
    """``_draws(…)[index]`` without those before it."""
    return float(_uniform(np.asarray(_stream(seed, epoch).advance(index).random_raw(1)))[0])


def _stream(seed: int, epoch: int) -> np.random.PCG64:
    return np.random.PCG64(derive_seed(seed, epoch, 0, _STREAM))


def _uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The upper 53 of 64 bits, as many as a double has, as a number below 1."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
