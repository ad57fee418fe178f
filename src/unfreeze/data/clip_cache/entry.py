"""The file of one decoded video: written whole or not at all, mapped into memory to be read.

Layout: a prefix of fixed size (magic, length and CRC-32 of the header, length and CRC-32 of the body), the
header (JSON: shape, order of the bytes, what the video is), and the body: times (float64), then frames
(uint8). Numbers are little-endian.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import uuid
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from unfreeze.data.decode import DecodedVideo, VideoInfo

VERSION = 1
SUFFIX = ".clip"
UNFINISHED = ".part"
_MAGIC = b"unfreeze"
_PREFIX = struct.Struct("<8sIIIQ")  # magic, header length, header CRC, body CRC, body length
assert sys.byteorder == "little", "entries are mapped as they are; a big-endian machine has to swap bytes"


class DamagedError(Exception):
    """A file is not the entry that was once written; nothing of it may be used."""


def size_of(video: DecodedVideo) -> int:
    """Bytes of the entry of ``video``, without its header, which is as good as nothing."""
    return video.frames.numel() + 8 * len(video.times)


def write(path: Path, video: DecodedVideo) -> None:
    """``path`` appears whole or not at all; of two who write it at once, one wins.

    Whoever is killed meanwhile leaves a file with another suffix (``UNFINISHED``). Nothing is flushed to the
    disk: what a power failure leaves of an entry does not pass the checks of ``read``.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    frames = video.frames
    # Frames come from the decoder pixel by pixel and not plane by plane. Kept that way: sums over a picture
    # depend on the order in the last bit, and cached and decoded clips are to agree in that one, too.
    by_pixel = frames.is_contiguous(memory_format=torch.channels_last)
    pixels = (frames.permute(0, 2, 3, 1) if by_pixel else frames).contiguous().numpy()
    times = np.ascontiguousarray(video.times, "<f8")
    header = json.dumps(
        {"shape": list(frames.shape), "by_pixel": by_pixel, "info": asdict(video.info)}
    ).encode()
    body = zlib.crc32(pixels.data, zlib.crc32(times.data))
    prefix = _PREFIX.pack(_MAGIC, len(header), zlib.crc32(header), body, times.nbytes + pixels.nbytes)
    unfinished = path.with_name(f"{path.stem}-{uuid.uuid4().hex[:8]}{UNFINISHED}")
    try:
        with unfinished.open("xb") as file:
            for part in (prefix, header, times.data, pixels.data):
                file.write(part)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def read(path: Path, verified: Callable[[os.stat_result], bool]) -> DecodedVideo | None:
    """The entry, or None where there is none.

    Its frames are a mapping of the file: only what is used of them is read, and what is written to them is
    lost. No file stays open.

    Args:
        verified: whether the body of the file with this status is known to be sound; otherwise all of it is
            read and compared with its checksum.

    Raises:
        DamagedError: it is torn or altered.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            prefix = file.read(_PREFIX.size)
            if len(prefix) < _PREFIX.size:
                raise DamagedError(f"{path}: too short")
            magic, header_size, header_crc, body_crc, body_size = _PREFIX.unpack(prefix)
            if magic != _MAGIC or status.st_size != _PREFIX.size + header_size + body_size:
                raise DamagedError(f"{path}: not an entry, or not all of it")
            header = file.read(header_size)
        if zlib.crc32(header) != header_crc:
            raise DamagedError(f"{path}: its header was altered")
        # private: what is written to the frames stays in this process and goes with them
        mapped = torch.from_file(str(path), shared=False, size=status.st_size, dtype=torch.uint8)
    except FileNotFoundError:
        return None
    except RuntimeError as error:  # torch's word for: gone, or shorter by now
        raise DamagedError(f"{path}: cannot be mapped ({error})") from error
    body = mapped[_PREFIX.size + header_size :]
    if not verified(status) and zlib.crc32(body.numpy().data) != body_crc:
        raise DamagedError(f"{path}: its body was altered")
    about = json.loads(header)
    n, c, h, w = about["shape"]
    times = np.frombuffer(body[: 8 * n].numpy().tobytes(), "<f8")
    pixels = body[8 * n :]
    frames = pixels.view(n, h, w, c).permute(0, 3, 1, 2) if about["by_pixel"] else pixels.view(n, c, h, w)
    return DecodedVideo(frames, times, VideoInfo(**about["info"]))
