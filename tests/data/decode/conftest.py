"""Tests that name ``decoder`` run with both."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unfreeze.data import decode
from unfreeze.data.decode import torchcodec


@pytest.fixture(scope="module", params=["pyav", "torchcodec"])
def decoder(request) -> Iterator[str]:
    """The name of a decoder, which is what ``auto`` stands for meanwhile."""
    if request.param == "torchcodec" and torchcodec.why_not() is not None:
        pytest.skip(f"TorchCodec: {torchcodec.why_not()}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "pick_decoder", lambda name: request.param if name == "auto" else name)
        yield request.param


@pytest.fixture(scope="session")
def turn_clockwise() -> Callable[[Path], Path]:
    """Writes the matrix of a quarter turn into the track header of an MP4 file, as phones do."""

    def turn(path: Path) -> Path:
        data = bytearray(path.read_bytes())
        matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version, times and ids, layer to volume
        one = 0x10000
        data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 0x40000000)
        path.write_bytes(data)
        return path

    return turn
