"""Decoding with TorchCodec (https://github.com/meta-pytorch/torchcodec), which needs FFmpeg's libraries.

PyAV reads the file's packets and tells from their time stamps which frames are wanted; TorchCodec decodes
just these, and what it gives is checked against the time stamps. It would otherwise have to choose between
scanning every file from end to end and trusting an average frame rate.

Both convert to RGB with FFmpeg's swscale. Pixels were equal, bit for bit, in every file of 8 bits per
channel that was compared (H.264, HEVC, VP9, AV1, MPEG-4, MJPEG, GIF, FFV1, PNG; 4:2:0, 4:2:2, 4:4:4, grey and
RGB; odd sizes, rotated, BT.601, BT.709 and BT.2020; FFmpeg 5 here against 8 in PyAV's wheels). With more bits
they differed by up to 57 of 255, so such files are left to PyAV, as is any file that TorchCodec refuses or of
which it gives another frame than asked for: whatever the decoder, the same file gives the same frames.
"""

from __future__ import annotations

import json
from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from av.packet import Packet

from unfreeze.data.decode.base import SAME_MOMENT, Window
from unfreeze.data.decode.pyav import Source

# More packets than this, an hour of video, are not worth a table.
_MOST_PACKETS = 100_000


class LeaveToPyAV(Exception):  # noqa: N818 (not an error)
    """TorchCodec cannot read this file, or not surely as PyAV does."""


@cache
def why_not() -> str | None:
    """None where TorchCodec loads, else the reason in one line."""
    try:
        import torchcodec.decoders  # noqa: F401
    except ImportError:
        return "it is not installed"
    except (OSError, RuntimeError) as error:  # its message lists every attempt at every version of FFmpeg
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return first.rstrip(":. ")
    return None


def frames_at(source: Source, times: Sequence[float], window: Window) -> torch.Tensor:
    """As ``Source.frames_at``.

    Raises:
        LeaveToPyAV: see there.
    """
    _refuse(source)
    order = np.argsort(times, kind="stable")
    packets = _Packets(source, window)
    wanted = [packets.shown_at(window.inside(float(times[i]))) for i in order]
    distinct = sorted(set(wanted))
    frames = _decode(_decoder(source, packets), packets, distinct)
    ranks = {stamp: rank for rank, stamp in enumerate(distinct)}
    places = torch.tensor([ranks[wanted[place]] for place in np.argsort(order)])
    return _as_decoded(frames if places.equal(torch.arange(len(frames))) else frames[places])


def chunks(source: Source, window: Window, size: int) -> Iterator[tuple[torch.Tensor, list[float]]]:
    """As ``Source.chunks``.

    Raises:
        LeaveToPyAV: see there.
    """
    _refuse(source)
    packets = _Packets(source, window)
    wanted = packets.all_of()
    decoder = _decoder(source, packets)
    for begin in range(0, len(wanted), size):
        stamps = wanted[begin : begin + size]
        yield _as_decoded(_decode(decoder, packets, stamps)), [packets.time(stamp) for stamp in stamps]


def _refuse(source: Source) -> None:
    if source.container.format.name in ("mpeg", "mpegts"):
        raise LeaveToPyAV("without an index, seeking is a guess")
    format = source.stream.codec_context.format
    if format is None or any(component.bits > 8 for component in format.components):
        raise LeaveToPyAV("more than 8 bits per channel")


class _Packets:
    """Time stamps of the frames of a file, read as far as they are asked for, in one pass."""

    def __init__(self, source: Source, window: Window) -> None:
        self.source, self.window = source, window
        self.known: dict[int, tuple[int, bool]] = {}  # time stamp -> duration, is a key frame
        self._recent: list[int] = []  # those since the last leap, ascending
        self._reached: float | None = None  # all frames shown up to this moment are known
        self._ended = False
        self._packets = self._read()

    def time(self, stamp: int) -> float:
        return self.source.time(stamp) - self.window.start

    def shown_at(self, time: float) -> int:
        """The time stamp of the frame shown then; times must ascend."""
        self._leap(time)
        self._read_to(time)
        if self._ended:
            self._check_end(time)
        place = bisect_right(self._recent, time + SAME_MOMENT, key=self.time)
        return self._recent[max(place - 1, 0)]

    def all_of(self) -> list[int]:
        """The time stamps of all frames of the window, ascending."""
        self._leap(0.0)
        window = self.window
        last = float("inf") if window.last is None else window.last
        self._read_to(last)
        if self._ended:
            self._check_end(window.info.duration - 1 / window.info.fps)
        begin = bisect_right(self._recent, SAME_MOMENT, key=self.time)
        end = bisect_right(self._recent, last + SAME_MOMENT, key=self.time)
        return self._recent[max(begin - 1, 0) : end]

    def _leap(self, time: float) -> None:
        """Seek over a gap that is worth it, as PyAV does in ``Source``."""
        if not self._recent:
            self._read_to(float("-inf"))
        if not self._recent or self._ended:
            return
        latest = self._recent[-1]
        far = time - self.time(latest) > self.source.far
        if far and self.source.skip_to(self.window.start + time, after=latest):
            self._recent, self._reached = [], None
            self._packets = self._read()

    def _read_to(self, time: float) -> None:
        while not self._ended and (self._reached is None or self._reached <= time + SAME_MOMENT):
            packet = next(self._packets, None)
            if packet is None or packet.pts is None:
                self._ended = True
                continue
            if packet.pts in self.known or len(self.known) == _MOST_PACKETS:
                raise LeaveToPyAV("two frames at one time, or too many")
            self.known[packet.pts] = (packet.duration or 1, packet.is_keyframe)
            insort(self._recent, packet.pts)
            if packet.dts is not None:  # nothing that is decoded later is shown earlier than this
                self._reached = self.time(packet.dts)

    def _read(self) -> Iterator[Packet]:
        for packet in self.source.container.demux(self.source.stream):
            if packet.size == 0:
                return  # the end
            if packet.is_corrupt or packet.pts is None:
                raise LeaveToPyAV("broken or without a time")
            if not packet.is_discard:
                yield packet

    def _check_end(self, time: float) -> None:
        if not self._recent:
            raise LeaveToPyAV("no frames")
        last = self._recent[-1]
        if self.source.breaks_off(self.source.end_of(last, self.known[last][0]), self.window.start + time):
            raise LeaveToPyAV("truncated")


def _decoder(source: Source, packets: _Packets) -> Any:
    """An open ``VideoDecoder`` that knows the frames of ``packets``."""
    from torchcodec.decoders import VideoDecoder

    frames = [
        {"pts": stamp, "duration": duration, "key_frame": int(key)}
        for stamp, (duration, key) in sorted(packets.known.items())
    ]
    if not frames:
        raise LeaveToPyAV("no frames")
    try:
        return VideoDecoder(
            str(source.path),
            stream_index=source.stream.index,
            num_ffmpeg_threads=1,
            custom_frame_mappings=json.dumps({"frames": frames}),
        )
    except (RuntimeError, ValueError) as error:
        raise LeaveToPyAV(str(error)) from error


def _decode(decoder: Any, packets: _Packets, stamps: Sequence[int]) -> torch.Tensor:
    """The frames at ascending, distinct time stamps."""
    places = {stamp: place for place, stamp in enumerate(sorted(packets.known))}
    try:
        batch = decoder.get_frames_at([places[stamp] for stamp in stamps])
    except (RuntimeError, ValueError, IndexError) as error:
        raise LeaveToPyAV(str(error)) from error
    base = packets.source.time_base
    expected = torch.tensor([float(stamp * base) for stamp in stamps], dtype=torch.float64)
    if not torch.allclose(batch.pts_seconds.double(), expected, rtol=0, atol=SAME_MOMENT):
        raise LeaveToPyAV("another frame than asked for")
    return batch.data


def _as_decoded(frames: torch.Tensor) -> torch.Tensor:
    """The same in the memory layout that PyAV gives: what is computed of it may depend on that."""
    return frames.contiguous(memory_format=torch.channels_last)
