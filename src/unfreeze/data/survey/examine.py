"""One file: its bytes, its packets, its frames."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.stream import Disposition

from unfreeze.data.decode import VideoError, read_all, read_frames
from unfreeze.data.survey.report import FileReport, Mode, Trouble
from unfreeze.wording import in_seconds

# Of a longer file only this much (seconds) is decoded; the packets of the rest are read all the same.
MOST_DECODED = 20 * 60.0
# Intervals that differ from the usual one by more than this share of it, and by more than rounding to
# milliseconds can, are no constant frame rate.
_STEADY = 0.25
_ROUNDING = 0.0021
_CHUNK = 1 << 20


def examine(path: Path, beat: Callable[[], None], *, mode: Mode, decoder: str) -> FileReport:
    """What ``path`` is like; never an error.

    Args:
        beat: called again and again while it gets on.
        mode: ``full`` decodes every frame, ``quick`` the first and the last.
        decoder: ``torchcodec`` or ``pyav``.
    """
    report = FileReport(path)
    try:
        about = os.stat(path)
        report = replace(report, size=about.st_size, mtime_ns=about.st_mtime_ns)
        if path.is_file() and about.st_size:
            packets = _scan(path, beat)
            report = replace(report, digest=_digest(path, beat), **_told(packets))
        else:
            packets = _Packets()
        decoded = _decode(path, report.seconds, beat, mode, decoder)
    except FileNotFoundError:
        return replace(report, trouble="missing", error=f"{path}: no such file; name a video file")
    except VideoError as error:
        return replace(report, trouble=_kind(report, packets), error=_one_line(error))
    # Whatever a decoder does to a file, it is the file that cannot be used.
    except Exception as error:
        what = _one_line(error) or type(error).__name__
        return replace(report, trouble="unreadable", error=f"{path}: {what}; copy or encode it again")
    note = ""
    if mode == "full" and decoded < report.seconds - 1:
        note = (
            f"{path}: {in_seconds(report.seconds)} long, so only the first {in_seconds(decoded)} were "
            f"decoded; of the rest the packets were read"
        )
    return replace(report, decoded_seconds=decoded, note=note)


@dataclass(frozen=True)
class _Packets:
    """What the container says, and the times of its packets, ascending, in seconds."""

    times: Sequence[float] = ()
    end: float = 0.0  # of the last packet
    declared: float = 0.0  # the end that the container promises, 0 where it does not
    width: int = 0
    height: int = 0
    codec: str = ""
    depth: int = 0
    only_sound: bool = False


def _scan(path: Path, beat: Callable[[], None]) -> _Packets:
    """All packets of the video stream, as far as they can be read; none is decoded."""
    try:
        with av.open(path, metadata_errors="replace") as container:
            # the cover picture of an audio file is a video stream to FFmpeg
            streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
            if not streams:
                return _Packets(only_sound=bool(container.streams.audio))
            stream, context = streams[0], streams[0].codec_context
            unit = float(stream.time_base or 0)
            start = float((stream.start_time or 0) * unit)
            declared = start + float(stream.duration * unit) if stream.duration and stream.frames else 0.0
            spans: list[tuple[float, float]] = []
            try:
                for packet in container.demux(stream):
                    beat()
                    if packet.pts is not None:
                        spans.append((packet.pts * unit, (packet.pts + (packet.duration or 0)) * unit))
            except av.FFmpegError:
                pass  # decoding will say what is wrong
            return _Packets(
                times=sorted(begin for begin, _ in spans),
                end=max((end for _, end in spans), default=0.0),
                declared=declared,
                width=context.width,
                height=context.height,
                codec=context.name,
                depth=max((part.bits for part in context.format.components), default=0)
                if context.format is not None
                else 0,
            )
    except av.FFmpegError:
        return _Packets()


def _told(packets: _Packets) -> dict[str, Any]:
    seconds = packets.end - packets.times[0] if packets.times else 0.0
    return {
        "frames": len(packets.times),
        "seconds": seconds,
        "fps": len(packets.times) / seconds if seconds > 0 else 0.0,
        "width": packets.width,
        "height": packets.height,
        "codec": packets.codec,
        "depth": packets.depth,
        "variable_rate": is_variable(packets.times),
    }


def is_variable(times: Sequence[float]) -> bool:
    """Whether frames at ``times`` (seconds, ascending) are not evenly spaced, rounding aside."""
    gaps = np.diff(np.asarray(times, np.float64))
    if len(gaps) < 2:
        return False
    usual = float(np.median(gaps))
    return bool(np.abs(gaps - usual).max() > max(_STEADY * usual, _ROUNDING))


def _decode(path: Path, seconds: float, beat: Callable[[], None], mode: Mode, decoder: str) -> float:
    """Decode; how many seconds of it.

    Raises:
        VideoError: it cannot be.
    """
    if mode == "quick":
        read_frames(path, lambda info: [0.0, info.duration], decoder=decoder)
        return 0.0

    def seen(frames: torch.Tensor) -> torch.Tensor:
        """Of each frame a pixel, so that a video of any length fits into memory."""
        beat()
        return frames[:, :, :1, :1].clone()

    most = MOST_DECODED if seconds > MOST_DECODED else None
    read_all(path, end=most, decoder=decoder, resize=seen)
    return seconds if most is None else most


def _digest(path: Path, beat: Callable[[], None]) -> str:
    digest = hashlib.blake2b(digest_size=20)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            beat()
    return digest.hexdigest()


def _kind(report: FileReport, packets: _Packets) -> Trouble:
    if not report.digest:
        return "empty" if report.path.is_file() else "missing"
    if packets.only_sound:
        return "sound_only"
    frame = 1.5 / report.fps if report.fps else 0.0
    return "truncated" if packets.times and packets.end + frame < packets.declared else "unreadable"


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split())
