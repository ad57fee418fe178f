"""Which moments of a video make up a clip: pure arithmetic, in seconds from the first frame.

Two ways, chosen by what the model expects (``Preprocessing.fps``):

- Segments (no frame rate): the video is cut into as many equal parts as the clip has frames, one moment in
  each: the middle, or in training anywhere. Wang et al., "Temporal Segment Networks", ECCV 2016. It sees the
  whole event whatever its length: right for videos already cut to the event, the usual case in fine-tuning.
- Window (a frame rate): consecutive moments at that rate, in the middle of the video, or in training
  anywhere, as the Kinetics models were trained. It keeps the speed of motion: right for long videos.

Short videos are never refused: a moment past the end shows the last frame again, and moments closer than the
frames show one several times.
"""

from __future__ import annotations

from collections.abc import Sequence


def segment_times(duration: float, frames: int, offsets: Sequence[float] | None = None) -> list[float]:
    """One moment in each of ``frames`` equal parts of ``duration`` seconds, ascending.

    Args:
        offsets: where in its part each moment lies, each in [0, 1); the middle by default.
    """
    part = duration / frames
    return [(i + (0.5 if offsets is None else offsets[i])) * part for i in range(frames)]


def window_times(duration: float, frames: int, fps: float, position: float = 0.5) -> list[float]:
    """``frames`` consecutive moments at ``fps``, ascending; each is the middle of its 1 / fps seconds.

    Args:
        position: where the window lies in ``duration``, from 0 (at the start) to 1 (at the end). A window
            longer than the video starts with it.
    """
    start = max(duration - frames / fps, 0.0) * position
    return [start + (i + 0.5) / fps for i in range(frames)]
