"""A tiny data set of real MP4 files: two tasks, one clip with a masked label."""

import csv
from pathlib import Path

import av
import numpy as np
import pytest

# (motion, colour, split); the empty label is masked
CLIPS = [
    *(("left", "red", "train"), ("right", "red", "train"), ("left", "blue", "train")),
    *(("right", "blue", "train"), ("left", "", "train"), ("right", "red", "train")),
    *(("left", "red", "val"), ("right", "blue", "val"), ("right", "red", "val")),
]


def write_clip(path: Path, motion: str, colour: str, frames: int = 16, side: int = 64) -> None:
    """A bright square that walks over a dark ground."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for t in range(frames):
            picture = np.full((side, side, 3), 30, dtype=np.uint8)
            x = 2 * t if motion == "right" else side - 18 - 2 * t
            picture[20:36, x : x + 16, 2 if colour == "blue" else 0] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """A CSV file of nine clips: six to train on, three for validation."""
    folder = tmp_path_factory.mktemp("clips")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split", "motion", "colour"])
        for number, (motion, colour, split) in enumerate(CLIPS):
            write_clip(folder / f"{number}.mp4", motion, colour)
            writer.writerow([f"{number}.mp4", split, motion, colour])
    return folder / "labels.csv"
