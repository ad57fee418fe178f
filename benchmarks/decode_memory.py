"""Whether memory stays flat over many decodes, in the process that trains and in the workers that decode.

    python benchmarks/decode_memory.py

A loader with 2 workers decodes small files of many kinds (H.264, HEVC, VP9, MPEG-4, GIF; of variable rate,
of 10 bits, a transport stream) over and over, with each decoder in turn. Target: after a warm-up of a fifth
of the decodes, no process grows by more than 2 %.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from reporting import footer, table, write
from unfreeze.data import ClipDataset, Sample, View, make_loader
from unfreeze.data.decode import pick_decoder, torchcodec
from unfreeze.preprocessing import Preprocessing

WORKERS = 2
CHECKPOINTS = 10
WARM_UP = 2  # checkpoints
MIB = 2**20
CLIP = Preprocessing(frames=4, resize=48, crop=(48, 48), mean=(0.5,) * 3, std=(0.2,) * 3)
# file name -> how PyAV writes it
KINDS: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "reordered.mkv": {"options": {"bf": "3"}},
    "variable.mp4": {"ticks": True},
    "ten_bits.mp4": {"pix_fmt": "yuv420p10le"},
    "stream.ts": {},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:pools=1"}},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "clip.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--decodes", type=int, default=10_000, help="of each decoder (default: 10000)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    decoders = ["pyav"] if torchcodec.why_not() else ["pyav", pick_decoder("torchcodec")]
    with tempfile.TemporaryDirectory() as folder:
        paths = [write_clip(Path(folder) / name, **kind) for name, kind in KINDS.items()]
        measured = {decoder: list(sizes_over(paths, decoder, args.decodes)) for decoder in decoders}
    rows, grown = [], {}
    for decoder, sizes in measured.items():
        for process, series in by_process(sizes).items():
            grown[f"{decoder}, {process}"] = growth(series)
            cells = [f"{size / MIB:.0f}" for size in series]
            rows.append([f"{decoder}, {process}", *cells, f"{growth(series):+.1%}"])
    each = args.decodes // CHECKPOINTS
    header = ["MiB after so many decodes", *(str(each * (i + 1)) for i in range(CHECKPOINTS)), "growth"]
    text = (
        f"{table(header, rows)}\n\nResident memory without mapped files; growth is from the mean of "
        f"checkpoints {WARM_UP + 1} and {WARM_UP + 2} to that of the last two. Target: below 2 %. {footer()}"
    )
    write("decode_memory", {"bytes": measured, "growth": grown, "decodes": each * CHECKPOINTS}, text)


def write_clip(
    path: Path,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    ticks: bool = False,
) -> Path:
    """12 frames of 64 x 48, of noise."""
    lots = np.random.default_rng(0)
    with av.open(path, "w") as output:
        stream = output.add_stream(codec, rate=12, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.codec_context.thread_count = 1
        if ticks:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for i in range(12):
            picture = lots.integers(0, 256, (48, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if ticks:
                frame.pts, frame.time_base = 80 * i + (i % 3) * 20, Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def sizes_over(paths: list[Path], decoder: str, decodes: int) -> Iterator[dict[str, int]]:
    """Bytes of every process at each checkpoint."""
    each = decodes // CHECKPOINTS
    samples = [Sample((View(paths[i % len(paths)]),), "train", {}) for i in range(each)]
    dataset = ClipDataset(samples, [], CLIP, train=True, augment="none", decoder=decoder)
    loader = make_loader(dataset, batch_size=10, workers=WORKERS)
    for checkpoint in range(CHECKPOINTS):
        loader.set_epoch(checkpoint + 1)
        for _ in loader:
            pass
        workers = sorted(child.pid or 0 for child in multiprocessing.active_children())
        assert len(workers) == WORKERS, "the workers live through all epochs"
        yield {
            "parent": resident(os.getpid()),
            **{f"worker {i + 1}": resident(pid) for i, pid in enumerate(workers)},
        }


def resident(pid: int) -> int:
    """Bytes of memory that a process holds, without mapped files and batches on their way."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


def by_process(sizes: list[dict[str, int]]) -> dict[str, list[int]]:
    return {process: [at[process] for at in sizes] for process in sizes[0]}


def growth(series: list[int]) -> float:
    """From the first two checkpoints after the warm-up to the last two."""
    return sum(series[-2:]) / sum(series[WARM_UP : WARM_UP + 2]) - 1


if __name__ == "__main__":
    main()
