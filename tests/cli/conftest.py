"""Real, tiny MP4 files, and one finished run on them that the tests of evaluate and predict share."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from unfreeze.cli import main

MOTIONS, OBJECTS = ("left", "right"), ("disc", "square")
SMALL = ("--workers", "0", "--batch_size", "4", "--device", "cpu")


def write_clip(path: Path, motion: str, thing: str, seed: int, frames: int = 16, size: int = 32) -> None:
    """An H.264 clip of a bright disc or square that moves left or right over noise."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 60, (size, size, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:size, :size]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            shift = index if motion == "right" else frames - index
            x, y = abs(columns - 8 - shift), abs(rows - size // 2)
            inside = x**2 + y**2 < 36 if thing == "disc" else np.maximum(x, y) < 6
            picture = np.where(inside[..., None], np.uint8(230), ground)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file of 12 clips with two tasks, ``motion`` and ``object``, and a split (8 train, 4 val)."""
    folder = tmp_path_factory.mktemp("clips")
    lines = ["path,motion,object,split"]
    for index in range(12):
        motion, thing = MOTIONS[index % 2], OBJECTS[index // 2 % 2]
        name = f"{index:02}_{motion}_{thing}.mp4"
        write_clip(folder / name, motion, thing, seed=index)
        lines.append(f"{name},{motion},{thing},{'train' if index < 8 else 'val'}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


@pytest.fixture(scope="session")
def finished(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    words = ["train", "--data", str(clips), "--run_dir", str(folder), "--epochs", "2", *SMALL]
    assert main(words) == 0
    return folder
