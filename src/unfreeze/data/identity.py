"""What decoded clips depend on beside flags: the files, and the code and machine that decode.

What is kept for later runs is named after it, so that nothing stale is ever taken for what it was.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib import metadata
from pathlib import Path

_ENDS = 64 * 1024  # bytes

# A file's path, for as long as its status stays the same, and its digest: files are not read in every epoch.
Digests = dict[Path, tuple[tuple[int, int, int], str]]


def file_digest(path: Path, digests: Digests) -> str:
    """Of the file's size, time of change, and first and last 64 KiB.

    To read all of it would cost as much as a cache saves. A file that was changed only in the middle has
    another time of change, and one that was moved has its old digest.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    status = os.stat(path)
    seen = (status.st_ino, status.st_size, status.st_mtime_ns)
    known = digests.get(path)
    if known is None or known[0] != seen:
        digest = hashlib.sha256(repr(seen[1:]).encode())
        with path.open("rb") as file:
            digest.update(file.read(_ENDS))
            if status.st_size > _ENDS:
                file.seek(max(_ENDS, status.st_size - _ENDS))
                digest.update(file.read(_ENDS))
        known = digests[path] = (seen, digest.hexdigest())
    return known[1]


@cache
def surroundings(decoder: str, *more: str) -> str:
    """The code and the machine that decode: other versions may round a pixel another way.

    Args:
        decoder: ``torchcodec`` or ``pyav``.
        more: files of ``unfreeze.data`` that matter beside those that decode and transform.
    """
    import torch

    packages = ("torch", "torchvision", {"pyav": "av"}.get(decoder, decoder))
    versions = [f"{package} {metadata.version(package)}" for package in packages]
    code = hashlib.sha256()
    for source in _sources(*more):
        code.update(source.read_bytes())
    parts = (decoder, _ffmpeg(decoder), versions, torch.backends.cpu.get_cpu_capability())
    return repr((*parts, code.hexdigest()))


def _ffmpeg(decoder: str) -> str:
    """TorchCodec uses the system's FFmpeg, which changes without it; PyAV brings its own."""
    if decoder != "torchcodec":
        return ""
    import torchcodec

    return str(torchcodec.ffmpeg_major_version)


def _sources(*more: str) -> list[Path]:
    data = Path(__file__).parent
    return sorted([*data.glob("decode/*.py"), *data.glob("transforms/*.py"), *(data / name for name in more)])
