"""A folder with a file of every kind that ``check`` has a word for."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from unfreeze.data import Sample, View


@pytest.fixture(scope="session")
def files(tmp_path_factory, write_video) -> Path:
    root = tmp_path_factory.mktemp("files")
    write_video(root / "good.mp4", 24, noise=True)
    (root / "copy of good.mp4").write_bytes((root / "good.mp4").read_bytes())
    write_video(root / "other.mp4", 24)
    first = write_video(root / "first.mp4", 24, noise=True, container={"movflags": "faststart"})
    with av.open(first) as container:
        starts = sorted(packet.pos for packet in container.demux(video=0) if packet.pos is not None)
    (root / "truncated.mp4").write_bytes(first.read_bytes()[: starts[12]])
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a video\n" * 50)
    write_video(root / "phone.mp4", 6, ticks=[0, 100, 200, 1000, 1100, 1300])
    write_video(root / "ten_bits.mp4", 24, pix_fmt="yuv420p10le")
    write_video(root / "ten_hours.mp4", 3, ticks=[0, 1000, 36_000_000])
    write_video(root / "brief.mp4", 3)
    with av.open(root / "sound.mp4", "w") as output:
        stream = output.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return root


@pytest.fixture
def sample():
    """``sample(path, …, split="train", label=0, group=None, start=None, end=None)``."""

    def make(*paths, split="train", label=0, group=None, start=None, end=None):
        views = tuple(View(path, start, end) for path in paths)
        return Sample(views, split, {"motion": label}, group)

    return make
