"""Reading frames of video files with PyAV, whose wheels bring FFmpeg along.

Frames are asked for by time, so that a variable frame rate changes nothing: the frame at a time is the one
that a player would show then. A file is open only within a call, so workers open their own; each decoder runs
on one thread, as the parallelism is in the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

# Time stamps are exact fractions, requested times are floats: this much (seconds) counts as the same moment.
_SAME_MOMENT = 1e-6
# Decoding through a gap of this many frames costs about as much as seeking over it: encoders put key frames
# 250 frames apart by default.
_WORTH_A_SEEK = 250
# An index tells when a frame is decoded, which is up to this many frames before it is shown (H.264, HEVC).
_REORDERED = 16


class VideoError(ValueError):
    """A video file cannot be used; the message names the file and says why."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        frames: number of frames.
        fps: average frames per second.
        width: of a stored frame in pixels, before any rotation that the metadata ask for.
        height: likewise.
        duration: seconds from the start of the first frame to the end of the last.
    """

    frames: int
    fps: float
    width: int
    height: int
    duration: float


def probe(path: str | Path) -> VideoInfo:
    """Size and length of a video, without decoding it.

    Raises:
        VideoError: it cannot be read.
    """
    with _opened(Path(path)) as source:
        return source.info


def read_frames(
    path: str | Path, times: Sequence[float] | Callable[[VideoInfo], Sequence[float]] | None = None
) -> torch.Tensor:
    """The frames shown at ``times``, or all frames.

    Args:
        times: seconds from the first frame, in any order, or a function that chooses them; before the first
            frame counts as the first, after the last as the last.

    Returns:
        (T, C, H, W) uint8, RGB, turned upright as the metadata say.

    Raises:
        VideoError: the file cannot be read, or breaks off before one of the times.
    """
    with _opened(Path(path)) as source:
        if times is None:
            images = source.all_images()
        else:
            wanted = times(source.info) if callable(times) else times
            order = np.argsort(wanted, kind="stable")
            ascending = source.images_at([float(wanted[i]) for i in order])
            images = [ascending[rank] for rank in np.argsort(order)]
    if len({image.shape for image in images}) > 1:
        raise VideoError(f"{path}: the size of the picture changes midway; encode it again in one size")
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Source:
    """An open video; good for one pass."""

    path: Path
    container: InputContainer
    stream: VideoStream
    time_base: Fraction
    start: int  # time stamp of the first frame, in time_base
    info: VideoInfo
    declared: bool  # the file itself says how long it is, so what is missing can be noticed
    reformatter: VideoReformatter

    def all_images(self) -> list[np.ndarray]:
        images, last = [], None
        for last in self.frames():
            images.append(self.image(last))
        self.check_end(last, self.info.duration - 1 / self.info.fps)
        return images

    def images_at(self, times: Sequence[float]) -> list[np.ndarray]:
        """The images at ascending ``times``: one pass, seeking over long gaps, converting only these."""
        images: list[np.ndarray] = []
        far = _WORTH_A_SEEK / self.info.fps
        frames = self.frames()
        shown, following = next(frames, None), next(frames, None)
        image: np.ndarray | None = None
        for time in times:
            if shown is not None and time - self.time(shown) > far and self.skip_to(time, after=shown):
                frames = self.frames()
                shown, following, image = next(frames, shown), next(frames, None), None
            while following is not None and self.time(following) <= time + _SAME_MOMENT:
                shown, following, image = following, next(frames, None), None
            if following is None:
                self.check_end(shown, time)
            assert shown is not None  # check_end would have raised
            image = self.image(shown) if image is None else image
            images.append(image)
        return images

    def frames(self) -> Iterator[VideoFrame]:
        """Frames that have a time, in the order shown, from where the file stands."""
        return (frame for frame in self.container.decode(self.stream) if frame.pts is not None)

    def skip_to(self, time: float, *, after: VideoFrame) -> bool:
        """Go to a key frame between ``after`` and ``time``, if the file has an index that knows one."""
        target = self.start + int((time - _REORDERED / self.info.fps) / self.time_base)
        entries = self.stream.index_entries
        key = entries.search_timestamp(target)
        if key < 0 or after.pts is None or entries[key].timestamp <= after.pts:
            return False
        self.container.seek(target, stream=self.stream)
        return True

    def time(self, frame: VideoFrame) -> float:
        """Seconds from the first frame."""
        assert frame.pts is not None
        return (frame.pts - self.start) * self.time_base.numerator / self.time_base.denominator

    def image(self, frame: VideoFrame) -> np.ndarray:
        """(H, W, C) uint8. One converter for all, on one thread: the set-up costs more than the work."""
        image = self.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return np.rot90(image, round(frame.rotation / 90)) if frame.rotation else image

    def check_end(self, last: VideoFrame | None, time: float) -> None:
        """Refuse a file whose last frame ends before ``time`` although the file says that it goes on."""
        if last is None:
            raise VideoError(f"{self.path}: no frame can be decoded; encode it again or leave it out")
        frame = 1 / self.info.fps
        end = self.time(last) + max(float((last.duration or 0) * self.time_base), frame)
        if self.declared and end + frame < min(time, self.info.duration):
            raise VideoError(
                f"{self.path}: breaks off after {end:.2f} of {self.info.duration:.2f} seconds (truncated?); "
                f"copy or encode it again"
            )


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    if not path.is_file():
        raise VideoError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; name a video file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty; copy it again or leave it out")
    try:
        with av.open(path, metadata_errors="replace") as container:
            stream = _video_stream(path, container)
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            yield _source(path, container, stream)
    except av.FFmpegError as error:
        reason = (error.strerror or str(error)).lower()
        raise VideoError(f"{path}: cannot be decoded as video ({reason}); copy or encode it again") from error


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    # The cover picture of an audio file is a video stream to FFmpeg.
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        what = "only sound" if container.streams.audio else "no video stream"
        raise VideoError(f"{path}: has {what}; leave it out")
    if streams[0].codec_context is None:
        raise VideoError(f"{path}: its codec is unknown to FFmpeg; encode it again, as H.264 for instance")
    return streams[0]


def _source(path: Path, container: InputContainer, stream: VideoStream) -> _Source:
    frames, start, duration = stream.frames, stream.start_time or 0, stream.duration
    declared = duration is not None and frames > 0
    if duration is None or not frames:
        frames, start, duration = _scan(path)
    if not frames:
        raise VideoError(f"{path}: has no frames; leave it out")
    assert stream.time_base is not None
    seconds = float(duration * stream.time_base)
    fps = float(stream.average_rate or 0) or (frames / seconds if seconds else 1.0)
    context = stream.codec_context
    info = VideoInfo(frames, fps, context.width, context.height, max(seconds, 1 / fps))
    return _Source(path, container, stream, stream.time_base, start, info, declared, VideoReformatter())


def _scan(path: Path) -> tuple[int, int, int]:
    """Number of frames, first time stamp and duration, from all packets, of a file that does not say."""
    with av.open(path, metadata_errors="replace") as container:
        packets = container.demux(_video_stream(path, container))
        spans = [(p.pts, p.pts + (p.duration or 0)) for p in packets if p.pts is not None]
    start = min((begin for begin, _ in spans), default=0)
    return len(spans), start, max((end for _, end in spans), default=0) - start
