"""What decoding costs and keeping decoded clips saves: frames a second, and the share of waiting for data.

    python benchmarks/decoding.py

On generated H.264 files, which are read as training reads them: 16 frames of random moments spread over each
clip, made smaller, cropped and varied by worker processes. The model is a stand-in on a device of its own: it
takes a fixed time for each clip and no processor. Target: with ``--clip_cache ram`` or ``disk``, from the
second epoch on, no more waiting than where all clips lie decoded in memory (for the first batch of an
epoch).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import av
import numpy as np

from reporting import footer, table, write
from unfreeze.data import ClipDataset, ClipLoader, Sample, View, make_loader
from unfreeze.data.clip_cache import ClipCache, choose, expect, measure_room, open_cache
from unfreeze.data.dataset import Cache
from unfreeze.data.decode import DecodedVideo, pick_decoder
from unfreeze.data.transforms import training_side
from unfreeze.preprocessing import Preprocessing
from unfreeze.training.tally import Stopwatch

SIZE = (854, 480)  # pixels
FPS, FRAMES = 25, 75
BATCH = 4  # clips
PREPROCESSING = Preprocessing(frames=16, resize=128, crop=(112, 112), mean=(0.45,) * 3, std=(0.225,) * 3)


@dataclass(frozen=True)
class Setting:
    """How much is measured.

    Attributes:
        clips: files.
        rounds: how often everything is measured.
        epochs: of each run.
        clip_ms: what the model takes for a clip, in milliseconds.
    """

    clips: int = 40
    rounds: int = 3
    epochs: int = 4
    clip_ms: float = 40.0


@dataclass
class Epoch:
    """What an epoch took, what of it went into waiting for batches, and a checksum of these."""

    seconds: float
    waited: float
    checksum: int

    @property
    def share(self) -> float:
        return self.waited / self.seconds


class Memory:
    """Every clip decoded beforehand, in the memory of the workers: what no cache can beat."""

    def __init__(self) -> None:
        self.kept: dict[tuple[View, str], DecodedVideo] = {}

    def video(
        self, view: View, recipe: str, make: Callable[[], DecodedVideo], **_: object
    ) -> DecodedVideo | None:
        if (view, recipe) not in self.kept:
            self.kept[view, recipe] = make()
        return self.kept[view, recipe]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=Setting.clips, help="files (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=Setting.rounds, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=Setting.epochs, help="(default: %(default)s)")
    parser.add_argument(
        "--clip_ms",
        type=float,
        default=Setting.clip_ms,
        help="milliseconds that the model takes for a clip (default: %(default)s)",
    )
    setting = Setting(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory() as folder:
        samples = write_clips(Path(folder) / "clips", setting.clips)
        speeds = throughput(samples, setting)
        waits = data_wait(samples, setting, Path(folder))
    content = {
        "setting": vars(setting) | {"size": SIZE, "fps": FPS, "frames": FRAMES, "batch": BATCH},
        "decoders": decoder_versions(),
        "clips_per_second": speeds,
        "wait": {arm: [[epoch.share for epoch in run] for run in runs] for arm, runs in waits.items()},
        "seconds": {arm: [[epoch.seconds for epoch in run] for run in runs] for arm, runs in waits.items()},
    }
    write("decoding", content, report(speeds, waits, setting))


def write_clips(folder: Path, count: int) -> list[Sample]:
    """``count`` clips of a picture that moves under a window, no two alike."""
    folder.mkdir()
    samples = []
    width, height = SIZE
    for i in range(count):
        random = np.random.default_rng(i)
        coarse = random.integers(0, 256, (height // 8 + 32, width // 8 + 32, 3), np.uint8)
        picture = coarse.repeat(8, 0).repeat(8, 1)
        path = folder / f"{i:03}.mp4"
        with av.open(path, "w") as container:
            options = {"preset": "ultrafast", "crf": "23", "threads": "1"}
            stream = container.add_stream("libx264", rate=FPS, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for n in range(FRAMES):
                x, y = 3 * n % 200, 2 * n % 200
                seen = np.ascontiguousarray(picture[y : y + height, x : x + width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(seen, format="rgb24")))
            container.mux(stream.encode())
        samples.append(Sample((View(path),), "train", {"label": 0}))
    return samples


def decoders() -> list[str]:
    """Those that load on this machine."""
    found = ["pyav"]
    try:
        found.append(pick_decoder("torchcodec"))
    except ValueError as error:
        print(error)
    return found


def decoder_versions() -> dict[str, str]:
    return {name: version({"pyav": "av"}.get(name, name)) for name in decoders()}


def throughput(samples: Sequence[Sample], setting: Setting) -> dict[str, list[float]]:
    """``"pyav, 1 worker" -> clips a second`` of every round, the arms taking turns."""
    loaders = {
        f"{decoder}, {workers} worker{'s' * (workers > 1)}": loader_of(samples, workers, decoder=decoder)
        for decoder in decoders()
        for workers in (1, 2)
    }
    found: dict[str, list[float]] = {arm: [] for arm in loaders}
    for epoch in range(1, setting.rounds + 2):
        for arm, loader in loaders.items():
            seconds = run_epoch(loader, epoch, clip_ms=0.0).seconds
            if epoch > 1:  # in the first one workers start and files are read from the disk
                found[arm].append(len(samples) / seconds)
    return found


def data_wait(samples: Sequence[Sample], setting: Setting, folder: Path) -> dict[str, list[list[Epoch]]]:
    """``arm -> rounds -> epochs`` of a training loop with two workers; every run starts afresh.

    Raises:
        AssertionError: two arms did not see the same bits.
    """
    runs: dict[str, list[list[Epoch]]] = {}
    memory = decoded(samples)
    for round_ in range(setting.rounds):
        disk = folder / f"cache_{round_}"
        arms: dict[str, Callable[[], Cache | None]] = {
            "off": lambda: None,
            "ram": partial(new_cache, "ram", samples, disk, setting),
            "disk": partial(new_cache, "disk", samples, disk, setting),
            "disk, filled by an earlier run": partial(new_cache, "disk", samples, disk, setting),
            "control: decoded in memory": lambda: memory,
        }
        for arm, start in arms.items():
            cache = start()
            loader = loader_of(samples, 2, cache=cache)
            epochs = [run_epoch(loader, n, clip_ms=setting.clip_ms) for n in range(1, setting.epochs + 1)]
            runs.setdefault(arm, []).append(epochs)
            if isinstance(cache, ClipCache):
                with closing(cache):
                    assert not cache.notes()
        shutil.rmtree(disk)
    seen = {tuple(epoch.checksum for epoch in run) for of_arm in runs.values() for run in of_arm}
    assert len(seen) == 1, "not all arms saw the same clips"
    return runs


def new_cache(where: str, samples: Sequence[Sample], folder: Path, setting: Setting) -> ClipCache | None:
    """As ``train`` makes it."""
    views = [view for sample in samples for view in sample.views]
    expected = expect(views, training_side(PREPROCESSING))
    return open_cache(choose(where, expected, measure_room(folder), reads=setting.epochs))


def decoded(samples: Sequence[Sample]) -> Memory:
    memory = Memory()
    dataset = dataset_of(samples, cache=memory)
    for index in range(len(dataset)):
        dataset[1, index]
    return memory


def dataset_of(
    samples: Sequence[Sample], *, decoder: str = "auto", cache: Cache | None = None
) -> ClipDataset:
    return ClipDataset(samples, ["label"], PREPROCESSING, train=True, decoder=decoder, cache=cache)


def loader_of(
    samples: Sequence[Sample], workers: int, *, decoder: str = "auto", cache: Cache | None = None
) -> ClipLoader:
    return make_loader(dataset_of(samples, decoder=decoder, cache=cache), batch_size=BATCH, workers=workers)


def run_epoch(loader: ClipLoader, epoch: int, *, clip_ms: float) -> Epoch:
    """The loop of ``train``, with a model that takes ``clip_ms`` for each clip."""
    loader.set_epoch(epoch)
    checksum = 0
    watch = Stopwatch()
    for batch in watch.over(loader):
        until = time.perf_counter() + clip_ms / 1e3 * len(batch["index"])
        if clip_ms:
            checksum = zlib.crc32(batch["video"].numpy().data, checksum)
        time.sleep(max(until - time.perf_counter(), 0.0))
    return Epoch(watch.elapsed(), watch.waited, checksum)


def report(
    speeds: Mapping[str, Sequence[float]], waits: Mapping[str, Sequence[Sequence[Epoch]]], setting: Setting
) -> str:
    """Both tables, and what they were measured on."""
    first = next(iter(speeds))
    rows = []
    for arm, clips in speeds.items():
        ratios = [a / b for a, b in zip(clips, speeds[first], strict=True)]
        middle = statistics.median(clips)
        rows.append(
            [
                arm,
                f"{middle * PREPROCESSING.frames:.0f}",
                f"{middle:.1f}",
                f"{statistics.median(ratios):.2f}",
            ]
        )
    lines = [table(["decoder", "frames/s", "clips/s", f"ratio to {first}"], rows), ""]
    rows = []
    for arm, runs in waits.items():
        shares = [statistics.median(run[n].share for run in runs) for n in range(setting.epochs)]
        later = [setting.clips / epoch.seconds for run in runs for epoch in run[1:]]
        rows.append([arm, *(f"{share:.0%}" for share in shares), f"{statistics.median(later):.1f}"])
    epochs = [f"epoch {n}" for n in range(1, setting.epochs + 1)]
    lines += [table(["waiting for data, --clip_cache", *epochs, "clips/s after epoch 1"], rows), ""]
    versions = ", ".join(f"{name} {number}" for name, number in decoder_versions().items())
    width, height = SIZE
    lines.append(
        f"{setting.clips} H.264 clips of {width}x{height}, {FRAMES / FPS:.0f} s at {FPS} fps; "
        f"{PREPROCESSING.frames} frames of each, in batches of {BATCH}; medians of {setting.rounds} rounds. "
        f"The model takes {setting.clip_ms:g} ms for a clip; decoded by {pick_decoder('auto')} in 2 workers; "
        f"every run sees the same bits. What was on disk was in the system's own cache as well. {versions}."
    )
    return "\n".join([*lines, "", footer()])


if __name__ == "__main__":
    main()
