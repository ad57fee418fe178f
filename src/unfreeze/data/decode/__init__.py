"""Reading frames of video files: TorchCodec where it loads, PyAV otherwise, the same frames from both.

Frames are asked for by time, so that a variable frame rate changes nothing: the frame at a time is the one
that a player would show then. A file is open only within a call, so workers open their own; each decoder runs
on one thread, as the parallelism is in the workers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from unfreeze.data.decode import pyav
from unfreeze.data.decode.base import DecodedVideo, Times, VideoError, VideoInfo, Window

__all__ = ["DecodedVideo", "VideoError", "VideoInfo", "pick_decoder", "probe", "read_all", "read_frames"]

Decoder = Literal["auto", "torchcodec", "pyav"]
_CHUNK = 16  # frames that are held at full size at once while a whole video is made smaller


def pick_decoder(name: str) -> str:
    return "pyav" if name == "auto" else name


def probe(
    path: str | Path, *, start: float | None = None, end: float | None = None, decoder: str = "auto"
) -> VideoInfo:
    """Size and length of a video, or of the stretch of it from ``start`` to ``end``, without decoding it.

    Raises:
        VideoError: it cannot be read, or the stretch is not in it.
    """
    with pyav.opened(Path(path)) as source:
        return Window.of(source.path, source.info, start, end).info


def read_frames(
    path: str | Path,
    times: Times | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    decoder: str = "auto",
) -> torch.Tensor:
    """The frames shown at ``times``, or all frames, of a video or of the stretch from ``start`` to ``end``.

    Args:
        times: seconds from ``start``, in any order, or a function that chooses them; before the first frame
            counts as the first, after the last as the last.
        start, end: seconds from the first frame of the file; an end after the last frame is the file's end.

    Returns:
        (T, C, H, W) uint8, RGB, turned upright as the metadata say.

    Raises:
        VideoError: the file cannot be read, breaks off before one of the times, or ends before ``start``.
    """
    if times is None:
        return read_all(path, start=start, end=end, decoder=decoder).frames
    with pyav.opened(Path(path)) as source:
        window = Window.of(source.path, source.info, start, end)
        return source.frames_at(times(window.info) if callable(times) else times, window)


def read_all(
    path: str | Path,
    *,
    start: float | None = None,
    end: float | None = None,
    decoder: str = "auto",
    resize: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> DecodedVideo:
    """Every frame of a video, or of the stretch of it from ``start`` to ``end``, with its time.

    Args:
        resize: (T, C, H, W) uint8 -> the same, smaller; called for a few frames at a time, so that the video
            is never in memory at full size.

    Raises:
        VideoError: as ``read_frames``.
    """
    with pyav.opened(Path(path)) as source:
        window = Window.of(source.path, source.info, start, end)
        parts, times = [], []
        for frames, begins in source.chunks(window, _CHUNK):
            parts.append(frames if resize is None else resize(frames))
            times += begins
    if len({part.shape[1:] for part in parts}) > 1:
        raise pyav.changed_size(Path(path))
    return DecodedVideo(torch.cat(parts), np.asarray(times), window.info)
