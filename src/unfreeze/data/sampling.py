"""Which moments of a video make up a clip: pure arithmetic, in seconds from the first frame.

Three ways, chosen by what the model expects or the user asks for (``Preprocessing.fps`` and ``.stride``):

- Segments (neither): the video is cut into as many equal parts as the clip has frames, one moment in each:
  the middle, or in training anywhere. Wang et al., "Temporal Segment Networks", ECCV 2016. It sees the whole
  event whatever its length: right for videos already cut to the event, the usual case in fine-tuning.
- Window (a frame rate): consecutive moments at that rate, in the middle of the video, or in training
  anywhere, as the Kinetics models were trained. It keeps the speed of motion: right for long videos.
- Stride: a window counted in frames of the file: every second one, say. It keeps the speed of motion only
  where all files have one frame rate.

Short videos are never refused: a moment past the end shows the last frame again or, where asked to wrap, the
video from its start; moments closer than the frames show one several times.
"""

from __future__ import annotations

from collections.abc import Sequence

from unfreeze.data.decode import VideoInfo
from unfreeze.preprocessing import Preprocessing


def is_spread(preprocessing: Preprocessing) -> bool:
    """Whether clips are spread over the whole video, in segments."""
    return preprocessing.fps is None and preprocessing.stride is None


def clip_times(
    preprocessing: Preprocessing,
    info: VideoInfo,
    *,
    position: float = 0.5,
    offsets: Sequence[float] | None = None,
    speed: float = 1.0,
) -> list[float]:
    """The moments of one clip of a video that is as ``info`` says.

    Args:
        position: where the clip lies in the video, from 0 (at the start) to 1 (at the end). It means nothing
            for segments, which take the whole video, but with a ``speed`` below 1.
        offsets: of segments: where in its part each moment lies, each in [0, 1); the middle by default.
        speed: of playback, 1 as filmed: above it, moments are so much further apart. Segments, which cannot
            show more than the whole video, show this share of it below 1.
    """
    p = preprocessing
    if is_spread(p):
        share = min(speed, 1.0)
        times = segment_times(info.duration * share, p.frames, offsets)
        if share < 1:
            start = (1 - share) * info.duration * position
            times = [start + time for time in times]
        return times
    if p.fps is not None:
        times = window_times(info.duration, p.frames, p.fps / speed, position)
    elif speed == 1:
        assert p.stride is not None, "neither segments nor a frame rate"
        times = stride_times(info.frames, info.fps, p.frames, p.stride, position)
    else:
        assert p.stride is not None, "neither segments nor a frame rate"
        times = window_times(info.duration, p.frames, info.fps / (p.stride * speed), position)
    return [time % info.duration for time in times] if p.short == "wrap" else times


def evaluation_times(preprocessing: Preprocessing, info: VideoInfo, clips: int = 1) -> list[float]:
    """The moments of ``clips`` clips, clip after clip, evenly over the video; one alone is in its middle."""
    places = [(i + 0.5) / clips for i in range(clips)]
    times: list[float] = []
    for place in places:
        offsets = [place] * preprocessing.frames
        times += clip_times(preprocessing, info, position=place, offsets=offsets)
    return times


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


def stride_times(total: int, fps: float, frames: int, stride: int, position: float = 0.5) -> list[float]:
    """The middles of every ``stride``-th of a video's ``total`` frames, ``frames`` of them, ascending.

    Args:
        fps: frames per second of the video.
        position: as in ``window_times``.
    """
    span = (frames - 1) * stride + 1
    start = min(int(max(total - span + 1, 0) * position), max(total - span, 0))
    return [(start + i * stride + 0.5) / fps for i in range(frames)]
