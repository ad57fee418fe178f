"""A tiny data set of real MP4 files: two tasks, one clip with a masked label."""

import csv
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from unfreeze import strategies
from unfreeze.training.config import TrainConfig
from unfreeze.training.run import train

# (motion, colour, split); the empty label is masked
CLIPS = [
    *(("left", "red", "train"), ("right", "red", "train"), ("left", "blue", "train")),
    *(("right", "blue", "train"), ("left", "", "train"), ("right", "red", "train")),
    *(("left", "red", "val"), ("right", "blue", "val"), ("right", "red", "val")),
]

# (files of the event, motion, tags, split); an empty cell is masked
EVENTS = [
    *((("0", "1"), "left", "red|dark", "train"), (("2",), "left", "red", "train")),
    *((("3",), "left", "", "train"), (("4", "5", "6"), "right", "blue|dark", "train")),
    *((("7",), "", "blue", "train"), (("8",), "left", "red", "train"), (("9",), "right", "dark", "train")),
    *((("10", "11"), "left", "red", "val"), (("12",), "right", "blue|dark", "val"), (("13",), "", "", "val")),
]


def write_clip(
    path: Path, motion: str, colour: str, frames: int = 16, side: int = 64, ground: int = 30
) -> None:
    """A bright square that walks over a dark ground."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for t in range(frames):
            picture = np.full((side, side, 3), ground, dtype=np.uint8)
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
            write_clip(folder / f"{number}.mp4", motion, colour, ground=30 + number)
            writer.writerow([f"{number}.mp4", split, motion, colour])
    return folder / "labels.csv"


@pytest.fixture(scope="session")
def events(tmp_path_factory):
    """A table of events in one to three views, with a masked task beside a multi-label one."""
    folder = tmp_path_factory.mktemp("events")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["views", "split", "motion", "tags"])
        for names, motion, tags, split in EVENTS:
            for name in names:
                colour = "blue" if "blue" in tags else "red"
                frames = 10 + int(name) % 3 * 8
                write_clip(folder / f"{name}.mp4", motion, colour, frames=frames, ground=30 + int(name))
            writer.writerow(["|".join(f"{name}.mp4" for name in names), split, motion, tags])
    return folder / "labels.csv"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors on a busy machine: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Quiet:
    """A console that keeps what it is told."""

    def __init__(self):
        self.text = ""

    def print(self, line):
        self.text += f"{line}\n"

    @contextmanager
    def progress(self, label, total):
        yield self

    def track(self, items):
        return items

    def advance(self):
        pass

    def show(self, **numbers):
        pass


@pytest.fixture
def console():
    return Quiet()


@pytest.fixture
def run(clips, tmp_path, console):
    """Trains r3d_micro from scratch on the tiny clips; keyword arguments are flags."""

    def start(strategy="early_gradual", *, strategy_flags=None, **flags):
        basis = {"data": str(clips), "weights": "none", "epochs": 2, "batch_size": 4, "workers": 0}
        config = TrainConfig(**(basis | {"output": str(tmp_path / "runs")} | flags))
        return train(config, strategies.get(strategy)(**(strategy_flags or {})), console)

    return start
