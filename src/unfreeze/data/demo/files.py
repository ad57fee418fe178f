"""The demo data set on disk: real H.264 MP4 files and a `labels.csv`, made once, kept in the user's cache."""

import csv
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unfreeze.data.demo.scenes import Frames, render
from unfreeze.data.demo.shapes import SHAPES
from unfreeze.data.demo.tasks import MOTIONS, OBJECTS, demo_pose

SIZE = 64  # pixels
FPS = 15
FRAMES = 30

# 4:1 between the most and the least frequent motion; `plunge` is rare and its mirror image in time is common.
TRAIN_COUNTS: Mapping[str, int] = {"hop": 80, "sway": 70, "swell": 60, "spin": 50, "pop": 40, "plunge": 20}
VAL_COUNTS: Mapping[str, int] = dict.fromkeys(MOTIONS, 30)
_BACKGROUNDS = {"train": 40, "val": 30}


@dataclass(frozen=True)
class Clip:
    """One row of `labels.csv`, and the seed that draws everything the row does not say."""

    path: str
    motion: str
    object: str
    split: str
    group: str  # the background's name
    texture: int
    seed: int


def plan(
    seed: int = 0, train: Mapping[str, int] = TRAIN_COUNTS, val: Mapping[str, int] = VAL_COUNTS
) -> tuple[Clip, ...]:
    """Every clip of the demo, none rendered yet; `train` and `val` say how many of each motion."""
    clips: list[Clip] = []
    for offset, (split, counts) in enumerate({"train": train, "val": val}.items()):
        rng = np.random.default_rng([seed, offset, 2])
        motions = [motion for motion in MOTIONS for _ in range(counts.get(motion, 0))]
        # Dealt in turn within each motion, so that neither label says anything about the other.
        objects = [OBJECTS[i % len(OBJECTS)] for i in range(len(motions))]
        for i, at in enumerate(rng.permutation(len(motions))):
            background = int(rng.integers(_BACKGROUNDS[split]))
            clips.append(
                Clip(
                    path=f"clips/{split}_{i:04d}.mp4",
                    motion=motions[at],
                    object=objects[at],
                    split=split,
                    group=f"background_{split}_{background:02d}",
                    texture=10_000 * seed + 1_000 * offset + background,
                    seed=1_000_000 * seed + 100_000 * offset + i,
                )
            )
    return tuple(clips)


def frames_of(clip: Clip) -> Frames:
    """The clip before compression: (FRAMES, SIZE, SIZE, 3), uint8 RGB."""
    pose = demo_pose(clip.motion, np.random.default_rng([clip.seed, 3]), FRAMES, FPS)
    return render(SHAPES[clip.object], pose, texture=clip.texture, seed=clip.seed, size=SIZE, fps=FPS)


def write_mp4(target: Path | BinaryIO, frames: Frames, fps: int) -> None:
    """Encodes (T, H, W, 3) uint8 RGB as H.264, yuv420p."""
    import av

    with av.open(str(target) if isinstance(target, Path) else target, "w", format="mp4") as container:
        # One thread: frames this small gain nothing from more, and the bytes do not depend on the machine.
        # No macroblock tree: with AVX-512, x264's own does not give the same bytes twice.
        options = {"preset": "veryfast", "crf": "23", "threads": "1", "mbtree": "0"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def ensure_demo(
    root: Path | None = None, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Path:
    """The folder with `labels.csv` (`path,motion,object,split,group`) and `clips/*.mp4`; rendered if missing.

    `root` is the folder in which it lies: `$UNFREEZE_CACHE`, else `$XDG_CACHE_HOME/unfreeze`, else
    `~/.cache/unfreeze`. `progress(done, total)` is called after each clip. Raises OSError if `root` cannot be
    written to.
    """
    return write_demo(plan(seed), root or cache_root(), progress)


def write_demo(
    clips: tuple[Clip, ...], root: Path, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Renders `clips` into a folder under `root` named after what they are and the code that draws them.

    The folder appears whole or not at all: clips go to a temporary neighbour that is renamed at the end, so
    an interrupted run leaves nothing half-made, and of two runs at once one simply finds the other's result.
    """
    folder = root / f"demo-{_content_key(clips)}"
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=root))
    try:
        (unfinished / "clips").mkdir()
        for done, clip in enumerate(clips, 1):
            write_mp4(unfinished / clip.path, frames_of(clip), FPS)
            if progress:
                progress(done, len(clips))
        with open(unfinished / "labels.csv", "w", newline="", encoding="utf-8") as file:
            columns = ("path", "motion", "object", "split", "group")
            rows = csv.writer(file)
            rows.writerow(columns)
            rows.writerows([getattr(clip, column) for column in columns] for clip in clips)
        unfinished.chmod(0o755)  # mkdtemp's folders are private; a cache may be shared
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def cache_root() -> Path:
    """Where files made by this package are kept for the next run."""
    if chosen := os.environ.get("UNFREEZE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unfreeze"


def _content_key(clips: tuple[Clip, ...]) -> str:
    """Changes with the clips and with the code that renders them."""
    digest = hashlib.sha256(repr(clips).encode())
    for source in _sources():
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _sources() -> Iterator[Path]:
    yield from sorted(Path(__file__).parent.glob("*.py"))
