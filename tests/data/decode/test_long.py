"""Ten hours are not read from end to end for a few frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from unfreeze.data.decode import probe, pyav, read_all, read_frames

pytestmark = pytest.mark.usefixtures("decoder")

HOURS, CYCLE = 10, 20  # one frame a second, and a key frame every 20


@pytest.fixture(scope="module", params=["long.mp4", "long.mkv", "long.ts"])
def long_file(request, tmp_path_factory) -> Path:
    """The same 20 frames over and over: the file is made in no time."""
    path = tmp_path_factory.mktemp("long") / request.param
    with av.open(path, "w") as output:
        stream = output.add_stream("libx264", rate=1, options={"bf": "0", "preset": "ultrafast"})
        stream.width = stream.height = 16
        stream.codec_context.thread_count = 1
        packets = []
        for i in range(CYCLE):
            packets += stream.encode(av.VideoFrame.from_ndarray(_picture(i), format="rgb24"))
        packets += stream.encode()
        contents = [bytes(packet) for packet in packets]
        for n in range(HOURS * 3600):
            packet = av.Packet(contents[n % CYCLE])
            packet.stream, packet.time_base = stream, Fraction(1, 1)
            packet.pts = packet.dts = n
            packet.duration, packet.is_keyframe = 1, n % CYCLE == 0
            output.mux(packet)
    return path


def _picture(i: int) -> np.ndarray:
    return np.full((16, 16, 3), 20 + 8 * i, np.uint8)


@pytest.fixture
def read_packets(monkeypatch) -> list:
    """One entry per frame that PyAV decodes."""
    seen: list = []
    plain = pyav.Source.frames
    monkeypatch.setattr(pyav.Source, "frames", lambda self: (seen.append(f) or f for f in plain(self)))
    return seen


def test_length_without_reading_it_all(long_file, monkeypatch):
    monkeypatch.setattr(pyav, "_scan", lambda path: pytest.fail("read from end to end"))
    info = probe(long_file)
    assert info.duration == pytest.approx(36000, abs=1)
    assert info.frames == pytest.approx(36000, abs=1)


def test_far_moments_are_looked_up(long_file, which, read_packets):
    moments = [20_003.5, 35_999.5, 3.5]
    assert which(read_frames(long_file, moments)) == [3, 19, 3]
    assert len(read_packets) < 500


def test_a_stretch_in_the_middle(long_file, which, read_packets):
    assert which(read_frames(long_file, [0.5, 4.5], start=30_005.0, end=30_010.0)) == [5, 9]
    assert which(read_all(long_file, start=30_005.0, end=30_010.0).frames) == [5, 6, 7, 8, 9]
    assert len(read_packets) < 1000
