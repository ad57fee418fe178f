"""Reading frames of video files: TorchCodec where it loads, PyAV otherwise, the same frames from both.

Frames are asked for by time, so that a variable frame rate changes nothing: the frame at a time is the one
that a player would show then. A file is open only within a call, so workers open their own; each decoder runs
on one thread, as the parallelism is in the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from av import FFmpegError

from unfreeze.data.decode import pyav, torchcodec
from unfreeze.data.decode.base import DecodedVideo, Times, VideoError, VideoInfo, Window

__all__ = ["DecodedVideo", "VideoError", "VideoInfo", "pick_decoder", "probe", "read_all", "read_frames"]

Decoder = Literal["auto", "torchcodec", "pyav"]
_CHUNK = 16  # frames that are held at full size at once while a whole video is made smaller


def pick_decoder(name: str) -> Literal["torchcodec", "pyav"]:
    """The decoder that ``name`` (auto, torchcodec or pyav) stands for on this machine.

    Raises:
        ValueError: TorchCodec is asked for and does not load, or there is no such decoder.
    """
    if name not in get_args(Decoder):
        raise ValueError(f"decoder must be one of {', '.join(get_args(Decoder))}, not {name!r}")
    if name == "pyav":
        return "pyav"
    reason = torchcodec.why_not()
    if name == "torchcodec" and reason is not None:
        raise ValueError(
            f"decoder torchcodec does not load: {reason}; install torchcodec and FFmpeg's libraries "
            f"(apt-get install ffmpeg), or use --decoder pyav, which needs neither"
        )
    return "torchcodec" if reason is None else "pyav"


def probe(path: str | Path, *, start: float | None = None, end: float | None = None) -> VideoInfo:
    """Size and length of a video, or of the stretch of it from ``start`` to ``end``, without decoding it.

    That is PyAV's work, whatever the decoder.

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
        decoder: see ``pick_decoder``; it makes no difference to the frames.

    Returns:
        (T, C, H, W) uint8, RGB, turned upright as the metadata say.

    Raises:
        VideoError: the file cannot be read, breaks off before one of the times, or ends before ``start``.
        ValueError: the decoder does not load.
    """
    if times is None:
        return read_all(path, start=start, end=end, decoder=decoder).frames
    first = pick_decoder(decoder)
    with pyav.opened(Path(path)) as source:
        window = Window.of(source.path, source.info, start, end)
        wanted = times(window.info) if callable(times) else times
        if first == "pyav":
            return source.frames_at(wanted, window)
        with suppress(torchcodec.LeaveToPyAV, FFmpegError):
            return torchcodec.frames_at(source, wanted, window)
    with pyav.opened(Path(path)) as source:
        return source.frames_at(wanted, window)


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
    if pick_decoder(decoder) == "torchcodec":
        with pyav.opened(Path(path)) as source, suppress(torchcodec.LeaveToPyAV, FFmpegError):
            window = Window.of(source.path, source.info, start, end)
            return _joined(source.path, torchcodec.chunks(source, window, _CHUNK), window, resize)
    with pyav.opened(Path(path)) as source:
        window = Window.of(source.path, source.info, start, end)
        return _joined(source.path, source.chunks(window, _CHUNK), window, resize)


def _joined(
    path: Path,
    chunks: Iterable[tuple[torch.Tensor, list[float]]],
    window: Window,
    resize: Callable[[torch.Tensor], torch.Tensor] | None,
) -> DecodedVideo:
    parts: list[torch.Tensor] = []
    times: list[float] = []
    for frames, begins in chunks:
        parts.append(frames if resize is None else resize(frames))
        times += begins
    if len({part.shape[1:] for part in parts}) > 1:
        raise pyav.changed_size(path)
    return DecodedVideo(torch.cat(parts), np.asarray(times), window.info)
