"""The file of many rows: written whole or not at all, mapped into memory to be read.

Layout: a prefix of fixed size (magic with the version of the format, lengths and CRC-32 of what follows), the
about (JSON: key, shapes, dtypes, rows), the entries (int64: index, version, first row of each), and the body:
every leaf of all rows, one leaf after the other, from multiples of 64 bytes on. Numbers are
little-endian.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unfreeze.prefix.store.spec import Spec

SUFFIX = ".activations"
UNFINISHED = ".part"
_MAGIC = b"unfrzpx1"
# magic; CRC of what follows, up to the body; length of about, number of entries; CRC and length of the body
_PREFIX = struct.Struct("<8sIIQIQ")
_CRC_OF = struct.Struct("<IQIQ")
_ALIGN = 64  # bytes
_ZEROS = bytes(_ALIGN)
assert sys.byteorder == "little", "shards are mapped as they are; a big-endian machine has to swap bytes"


class DamagedError(Exception):
    """A file is not the shard that was once written; nothing of it may be used."""


class ForeignError(Exception):
    """A whole shard, of another cache."""


@dataclass(frozen=True)
class Header:
    """What a shard holds, and how to get at it.

    Attributes:
        entries: (n, 3): index and version of a sample, and the first of its rows in the shard.
        rows: of the shard.
        begin: of the body, in bytes.
        size: of the body, in bytes.
        crc: of the body.
    """

    entries: np.ndarray
    rows: int
    begin: int
    size: int
    crc: int


def pack(key: str, spec: Spec, entries: np.ndarray, leaves: Sequence[np.ndarray]) -> list[Any]:
    """The file's content, in parts that are written one after the other; those of the body are not copied.

    Args:
        entries: (n, 3), as in ``Header``.
        leaves: (rows, bytes) each.
    """
    rows = len(leaves[0]) if leaves else 0
    about = json.dumps(_about(key, spec) | {"rows": rows}).encode()
    listed = np.ascontiguousarray(entries, "<i8").tobytes()
    body: list[Any] = []
    crc = size = 0
    for leaf in leaves:
        for part in (leaf.reshape(-1).data, _ZEROS[: -leaf.nbytes % _ALIGN]):
            body.append(part)
            crc = zlib.crc32(part, crc)
            size += len(part)
    rest = _CRC_OF.pack(len(about), len(entries), crc, size)
    head = zlib.crc32(listed, zlib.crc32(about, zlib.crc32(rest)))
    prefix = _MAGIC + struct.pack("<I", head) + rest
    pad = _ZEROS[: -(len(prefix) + len(about) + len(listed)) % _ALIGN]
    return [prefix, about, listed, pad, *body]


def read_header(path: Path, key: str, spec: Spec) -> Header:
    """What ``path`` holds; its body is not looked at.

    Raises:
        DamagedError: it is torn or altered.
        ForeignError: it is of another key, or its rows are not what ``spec`` says.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        prefix = file.read(_PREFIX.size)
        if len(prefix) < _PREFIX.size or not prefix.startswith(_MAGIC):
            raise DamagedError(f"{path}: not a shard")
        _, head, about_size, count, crc, size = _PREFIX.unpack(prefix)
        end = _PREFIX.size + about_size + 24 * count
        begin = end + -end % _ALIGN
        if status.st_size != begin + size:
            raise DamagedError(f"{path}: not all of it")
        about, listed = file.read(about_size), file.read(24 * count)
    if zlib.crc32(listed, zlib.crc32(about, zlib.crc32(prefix[12:]))) != head:
        raise DamagedError(f"{path}: its header was altered")
    said = json.loads(about)
    rows = said.pop("rows")
    if said != _about(key, spec):
        raise ForeignError(f"{path}: of another cache")
    return Header(np.frombuffer(listed, "<i8").reshape(count, 3), rows, begin, size, crc)


def read_leaves(path: Path, spec: Spec, header: Header, *, check: bool = True) -> tuple[np.ndarray, ...]:
    """Every leaf of all rows, (rows, bytes): a mapping of the file, so that only what is used is read.

    No file stays open.

    Args:
        check: read all of it once, and compare it with its checksum.

    Raises:
        DamagedError: it is altered, or gone.
    """
    try:
        # private: what anybody writes to the rows stays in this process
        # (and not by numpy, which keeps the file open)
        mapped = torch.from_file(str(path), shared=False, size=header.begin + header.size, dtype=torch.uint8)
        content = mapped.numpy()
    except RuntimeError as error:  # torch's word for: gone, or shorter by now
        raise DamagedError(f"{path}: cannot be mapped ({error})") from error
    if check and zlib.crc32(content[header.begin :].data) != header.crc:
        raise DamagedError(f"{path}: its body was altered")
    return tuple(_leaves(content, spec, header))


def _leaves(content: np.ndarray, spec: Spec, header: Header) -> Iterator[np.ndarray]:
    begin = header.begin
    for width in spec.leaf_bytes:
        end = begin + header.rows * width
        yield content[begin:end].reshape(header.rows, width)
        begin = end + -end % _ALIGN


def _about(key: str, spec: Spec) -> dict[str, Any]:
    return {
        "key": key,
        "shapes": [list(shape) for shape in spec.shapes],
        "dtypes": [str(dtype) for dtype in spec.dtypes],
    }
