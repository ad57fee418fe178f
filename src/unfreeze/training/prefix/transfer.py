"""How long it takes to keep an activation and to have it back, measured on a few megabytes."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import torch

_BYTES = 16 * 2**20


def transfer_costs(folder: Path | None) -> tuple[float, float]:
    """Seconds per byte of reading and of writing.

    Args:
        folder: on the disk; None is memory. The disk is read past the system's cache where it lets one.

    Raises:
        OSError: the folder cannot be written to.
    """
    rows = torch.zeros(64, _BYTES // 64, dtype=torch.uint8)
    if folder is None:
        chosen = torch.arange(0, 64, 4)
        started = time.perf_counter()
        rows.index_select(0, chosen)
        read = (time.perf_counter() - started) / (_BYTES // 4)
        return read, read
    with tempfile.TemporaryFile(dir=folder) as file:
        started = time.perf_counter()
        file.write(rows.numpy().data)
        file.flush()
        os.fsync(file.fileno())
        write = (time.perf_counter() - started) / _BYTES
        with suppress(AttributeError, OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        started = time.perf_counter()
        file.read()
        return (time.perf_counter() - started) / _BYTES, write
