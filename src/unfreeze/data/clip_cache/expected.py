"""How large the entries of a data set will be, before any is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unfreeze.data.decode import VideoError, VideoInfo, probe
from unfreeze.data.manifest import View

# All frames of a longer view are never kept, nor decoded to be kept: at 30 frames per second, a minute.
MAX_FRAMES = 2000


@dataclass(frozen=True)
class Expected:
    """What the entries of some views add up to.

    Attributes:
        bytes: of all entries.
        views: number of different views.
        too_long: how many of them have more than ``MAX_FRAMES`` frames and will not be kept.
    """

    bytes: int = 0
    views: int = 0
    too_long: int = 0

    def __add__(self, other: Expected) -> Expected:
        return Expected(self.bytes + other.bytes, self.views + other.views, self.too_long + other.too_long)


def expect(
    views: Sequence[View],
    side: int,
    *,
    frames: int | None = None,
    info: Callable[[View], VideoInfo] | None = None,
    sample: int = 64,
) -> Expected:
    """What caching ``views`` will take, going by ``sample`` of them, evenly spread.

    Args:
        side: pixels of the shorter side of cached frames.
        frames: how many of each view are kept; None is all.
        info: what a view is like, where that is known already; by default its file says. A view of which it
            raises VideoError is taken for an average one.
    """
    views = sorted(set(views), key=lambda view: (view.path, view.start or 0.0, view.end or 0.0))
    chosen = views[:: max(len(views) // sample, 1)]
    sizes, too_long, bad = 0, 0, 0
    for view in chosen:
        try:
            found = info(view) if info else probe(view.path, start=view.start, end=view.end)
        except VideoError:
            bad += 1
            continue
        if frames is None and found.frames > MAX_FRAMES:
            too_long += 1
        else:
            sizes += entry_bytes(found.frames if frames is None else frames, found.width, found.height, side)
    share = len(views) / max(len(chosen) - bad, 1)
    return Expected(round(sizes * share), len(views), round(too_long * share))


def entry_bytes(frames: int, width: int, height: int, side: int) -> int:
    """Of ``frames`` frames whose shorter side is made ``side`` pixels, unless it is shorter already."""
    scale = min(side / min(width, height), 1.0)
    return frames * 3 * int(width * scale) * int(height * scale)
