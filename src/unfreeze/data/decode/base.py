"""What is known of a video and of a stretch of it, whichever library decodes it. Times are seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

# Time stamps are exact fractions, requested times are floats: this much (seconds) counts as the same moment.
SAME_MOMENT = 1e-6


class VideoError(ValueError):
    """A video file cannot be used; the message names the file and says why."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself, or of the stretch of it that was asked for.

    Attributes:
        frames: number of frames; of a stretch, and of a long file that does not say, by its length and rate.
        fps: average frames per second of the whole file.
        width: of a stored frame in pixels, before any rotation that the metadata ask for.
        height: likewise.
        duration: seconds from the start of the first frame to the end of the last.
    """

    frames: int
    fps: float
    width: int
    height: int
    duration: float


Times = Sequence[float] | Callable[[VideoInfo], Sequence[float]]


@dataclass(frozen=True)
class Window:
    """A stretch of a file, ``start`` seconds after its first frame.

    Attributes:
        info: what the stretch is like: its duration, and its number of frames.
        last: its latest moment, in seconds from ``start``; None is the end of the file.
    """

    start: float
    info: VideoInfo
    last: float | None

    @classmethod
    def of(cls, path: Path, info: VideoInfo, start: float | None, end: float | None) -> Window:
        """The stretch from ``start`` to ``end`` of a file that is as ``info`` says.

        An end after the file's own is the file's own.

        Raises:
            VideoError: there is nothing between the two.
        """
        begin = start or 0.0
        if not begin >= 0:
            raise VideoError(f"{path}: start {begin:g} is before the video; begin at 0 or later")
        if end is not None and not end > begin:
            raise VideoError(f"{path}: end {end:g} is not after start {begin:g}; name a stretch in seconds")
        if begin >= info.duration:
            raise VideoError(
                f"{path}: start {begin:g} is beyond its end at {info.duration:.2f} seconds; begin earlier"
            )
        if end is not None and end >= info.duration:
            end = None
        if begin == 0 and end is None:
            return cls(0.0, info, None)
        duration = (info.duration if end is None else end) - begin
        part = replace(info, frames=max(round(duration * info.fps), 1), duration=duration)
        # A frame that begins at the end is no part of the stretch.
        return cls(begin, part, None if end is None else duration - 2 * SAME_MOMENT)

    def inside(self, time: float) -> float:
        """``time`` (seconds from the start of the window), or the nearest that lies in the window.

        Times after the end of the file stay as they are: whoever reads learns from them how far the file is
        expected to go.
        """
        if self.last is not None and time > self.last:
            time = self.last
        return max(time, 0.0) if self.start else time


@dataclass(frozen=True)
class DecodedVideo:
    """All frames of a video, or of a stretch of it.

    Attributes:
        frames: (N, C, H, W) uint8, RGB, upright; as large as decoded, or as large as they were made.
        times: (N,) float64, when each begins, in seconds from the start of the stretch; the first may have
            begun before it.
        info: of the stretch, as ``read_frames`` gives it to a function that chooses times.
    """

    frames: torch.Tensor
    times: np.ndarray
    info: VideoInfo

    def at(self, times: Times) -> torch.Tensor:
        """(T, C, H, W): the frames that ``read_frames`` gives for ``times``."""
        wanted = np.asarray(times(self.info) if callable(times) else times, np.float64)
        # As when reading on from frame to frame: a frame with a later time stamp hides those after it.
        begins = np.maximum.accumulate(self.times)
        indices = np.searchsorted(begins, wanted + SAME_MOMENT, side="right") - 1
        return self.frames[torch.from_numpy(np.maximum(indices, 0))]
