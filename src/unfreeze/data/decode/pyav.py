"""Decoding with PyAV, whose wheels bring FFmpeg along: the reference that other decoders must agree with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, dropwhile, islice
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from unfreeze.data.decode.base import SAME_MOMENT, VideoError, VideoInfo, Window

# Decoding through a gap of this many frames costs about as much as seeking over it: encoders put key frames
# 250 frames apart by default.
_WORTH_A_SEEK = 250
# An index tells when a frame is decoded, which is up to this many frames before it is shown (H.264, HEVC).
_REORDERED = 16
# Where there is no index, it takes a gap of so many seconds: a search may have to look in several places.
_WORTH_A_SEARCH = 60
# Seconds of video that are read from end to end, packet by packet, where a file does not say how many frames
# it has; of a longer one only both ends are.
_SCANNED = 600


@dataclass(frozen=True)
class Source:
    """An open video; good for one pass."""

    path: Path
    container: InputContainer
    stream: VideoStream
    time_base: Fraction
    start: int  # time stamp of the first frame, in time_base
    info: VideoInfo
    declared: bool  # the file itself says how long it is, so what is missing can be noticed
    reformatter: VideoReformatter

    def frames_at(self, times: Sequence[float], window: Window) -> torch.Tensor:
        """(T, C, H, W) uint8: the frames shown at ``times`` (from the window's start, in any order)."""
        order = np.argsort(times, kind="stable")
        ascending = self._images_at([window.inside(float(times[i])) for i in order], window)
        return self._tensor([ascending[rank] for rank in np.argsort(order)])

    def chunks(self, window: Window, size: int) -> Iterator[tuple[torch.Tensor, list[float]]]:
        """All frames of the window, up to ``size`` at once, and when each begins, from the window's start."""
        images: list[np.ndarray] = []
        times: list[float] = []
        for frame in self._frames_of(window):
            images.append(self.image(frame))
            times.append(self.time(frame.pts) - window.start)
            if len(images) == size:
                yield self._tensor(images), times
                images, times = [], []
        if images:
            yield self._tensor(images), times

    def _images_at(self, times: Sequence[float], window: Window) -> list[np.ndarray]:
        """The images at ascending ``times``: one pass, seeking over long gaps, converting only these."""
        images, start = list[np.ndarray](), window.start
        frames = self.frames()
        shown, following = next(frames, None), next(frames, None)
        image: np.ndarray | None = None
        for time in times:
            leap = None if shown is None else self._leap(start + time, after=shown)
            if leap is not None:
                frames = leap
                shown, following, image = next(frames, shown), next(frames, None), None
            while following is not None and self.time(following.pts) - start <= time + SAME_MOMENT:
                shown, following, image = following, next(frames, None), None
            if following is None:
                self.check_end(shown, start + time)
            assert shown is not None  # check_end would have raised
            image = self.image(shown) if image is None else image
            images.append(image)
        return images

    def _frames_of(self, window: Window) -> Iterator[VideoFrame]:
        """From the frame shown when the window starts to the last that begins in it."""
        frames = self.frames()
        shown = next(frames, None)
        leap = None if shown is None else self._leap(window.start, after=shown)
        if leap is not None:
            frames = leap
            shown = next(frames, shown)
        for following in frames:
            assert shown is not None
            begins = self.time(following.pts) - window.start
            if begins > SAME_MOMENT:
                yield shown
            if window.last is not None and begins > window.last + SAME_MOMENT:
                return
            shown = following
        self.check_end(shown, window.start + window.info.duration - 1 / self.info.fps)
        assert shown is not None  # check_end would have raised
        yield shown

    def _tensor(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """(T, C, H, W) of images (H, W, C), which stay in memory as they are."""
        if len({image.shape for image in images}) > 1:
            raise changed_size(self.path)
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    def frames(self) -> Iterator[VideoFrame]:
        """Frames that have a time, in the order shown, from where the file stands."""
        return (frame for frame in self.container.decode(self.stream) if frame.pts is not None)

    def _leap(self, time: float, *, after: VideoFrame) -> Iterator[VideoFrame] | None:
        """Frames from one that is shown between ``after`` and ``time``, where it pays to seek there."""
        gap = time - self.time(after.pts)
        if gap <= self.far:
            return None
        if self.skip_to(time, after=after.pts):
            return self.frames()
        return self._search(time) if gap > _WORTH_A_SEARCH else None

    def _search(self, time: float) -> Iterator[VideoFrame]:
        """Frames from a key frame at or before ``time``, of a file without an index.

        FFmpeg then guesses by the size of the file, and may end up anywhere, also between key frames.
        """
        back = 20.0
        while back < time:
            self.container.seek(self.start + int((time - back) / self.time_base), stream=self.stream)
            frames = dropwhile(lambda frame: not frame.key_frame, self.frames())
            first = next(frames, None)
            if first is not None and self.time(first.pts) <= time:
                return chain([first], frames)
            back *= 4
        self.container.seek(self.start, stream=self.stream)
        return self.frames()

    def skip_to(self, time: float, *, after: int | None) -> bool:
        """Go to a key frame between ``after`` and ``time``, if the file has an index that knows one."""
        target = self.start + int((time - _REORDERED / self.info.fps) / self.time_base)
        entries = self.stream.index_entries
        key = entries.search_timestamp(target)
        if key < 0 or after is None or entries[key].timestamp <= after:
            return False
        self.container.seek(target, stream=self.stream)
        return True

    @property
    def far(self) -> float:
        """A gap of this many seconds is worth a seek."""
        return _WORTH_A_SEEK / self.info.fps

    def time(self, stamp: int | None) -> float:
        """Seconds from the first frame to a time stamp."""
        assert stamp is not None, "frames without a time are left out"
        return (stamp - self.start) * self.time_base.numerator / self.time_base.denominator

    def end_of(self, stamp: int | None, duration: int | None) -> float:
        """Seconds from the first frame to the end of a frame, from its time stamp and duration."""
        return self.time(stamp) + max(float((duration or 0) * self.time_base), 1 / self.info.fps)

    def breaks_off(self, end: float, time: float) -> bool:
        """Whether a last frame that ends at ``end`` is before ``time`` although the file says it goes on."""
        return self.declared and end + 1 / self.info.fps < min(time, self.info.duration)

    def image(self, frame: VideoFrame) -> np.ndarray:
        """(H, W, C) uint8. One converter for all, on one thread: the set-up costs more than the work."""
        image = self.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        if frame.rotation:
            return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
        return image

    def check_end(self, last: VideoFrame | None, time: float) -> None:
        """Refuse a file whose last frame ends before ``time`` although the file says that it goes on."""
        if last is None:
            raise VideoError(f"{self.path}: no frame can be decoded; encode it again or leave it out")
        end = self.end_of(last.pts, last.duration)
        if self.breaks_off(end, time):
            raise VideoError(
                f"{self.path}: breaks off after {end:.2f} of {self.info.duration:.2f} seconds (truncated?); "
                f"copy or encode it again"
            )


def changed_size(path: Path) -> VideoError:
    return VideoError(f"{path}: the size of the picture changes midway; encode it again in one size")


@contextmanager
def opened(path: Path) -> Iterator[Source]:
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


def _source(path: Path, container: InputContainer, stream: VideoStream) -> Source:
    frames, start, duration = stream.frames, stream.start_time or 0, stream.duration
    declared = duration is not None and frames > 0
    if duration is None or not frames:
        frames, start, duration = _both_ends(path) or _scan(path)
    if not frames:
        raise VideoError(f"{path}: has no frames; leave it out")
    assert stream.time_base is not None
    if not declared and duration * stream.time_base > _SCANNED:
        container.seek(start, stream=stream)  # Matroska's index is read when it is first needed
    seconds = float(duration * stream.time_base)
    fps = float(stream.average_rate or 0) or (frames / seconds if seconds else 1.0)
    context = stream.codec_context
    info = VideoInfo(frames, fps, context.width, context.height, max(seconds, 1 / fps))
    return Source(path, container, stream, stream.time_base, start, info, declared, VideoReformatter())


def _both_ends(path: Path) -> tuple[int, int, int] | None:
    """As ``_scan``, of a long file that says how long it is in all: the number of frames is an estimate."""
    with av.open(path, metadata_errors="replace") as container:
        stream = _video_stream(path, container)
        rate, base = stream.average_rate, stream.time_base
        if not rate or not base or not container.duration or container.duration / av.time_base < _SCANNED:
            return None
        first = islice(container.demux(stream), _REORDERED)
        start = min((packet.pts for packet in first if packet.pts is not None), default=0)
        try:
            container.seek(start + int(container.duration / av.time_base / base), stream=stream)
            ends = [p.pts + (p.duration or 0) for p in container.demux(stream) if p.pts is not None]
        except av.FFmpegError:
            return None
    if not ends or max(ends) <= start:
        return None
    duration = max(ends) - start
    return max(round(duration * base * rate), 1), start, duration


def _scan(path: Path) -> tuple[int, int, int]:
    """Number of frames, first time stamp and duration, from all packets, of a file that does not say."""
    with av.open(path, metadata_errors="replace") as container:
        packets = container.demux(_video_stream(path, container))
        spans = [(p.pts, p.pts + (p.duration or 0)) for p in packets if p.pts is not None]
    start = min((begin for begin, _ in spans), default=0)
    return len(spans), start, max((end for _, end in spans), default=0) - start
