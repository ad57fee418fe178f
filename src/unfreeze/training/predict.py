"""Classify video files of any length: windows slide over each file and stream through the model in batches.

What is in memory does not depend on how long the files are: windows are decoded a few at a time, by seeking,
and of a window that has been classified only its probabilities stay. A file shorter than a clip, and a model
whose clips are spread over the whole video, make a single window, which is the clip that ``evaluate`` takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unfreeze.data import ClipDataset, Sample, VideoInfo, View, probe, read_frames
from unfreeze.data.decode.base import SAME_MOMENT, Window
from unfreeze.data.loader import leave_interrupts_to_the_parent
from unfreeze.data.sampling import evaluation_times, is_spread
from unfreeze.data.transforms import EvaluationTransform
from unfreeze.models import VideoClassifier
from unfreeze.preprocessing import Preprocessing
from unfreeze.training.precision import autocast

_MOST_BYTES = 256 * 2**20  # of frames at full size that are decoded at once (but at least one window's)

Span = tuple[float, float]  # seconds


@dataclass(frozen=True)
class Sliding:
    """How windows lie in a file.

    Attributes:
        whole: one window only, the whole file, of which the clip is taken from the middle.
        length: of a window, in seconds; None is that of a clip.
        stride: seconds from the start of one window to that of the next; None is the length: side by side.
    """

    whole: bool = False
    length: float | None = None
    stride: float | None = None

    def spans(self, info: VideoInfo, preprocessing: Preprocessing) -> list[Span]:
        """Start and end of every window of a file, ascending; the last one ends with the file."""
        length = self.length or clip_length(preprocessing, info)
        if self.whole or length is None or length >= info.duration - SAME_MOMENT:
            return [(0.0, info.duration)]
        return slide(info.duration, length, self.stride or length)


@dataclass(frozen=True)
class Prediction:
    """What a model says about a file: ``spans`` has its windows, ``probabilities`` per task (W, classes)."""

    path: Path
    spans: tuple[Span, ...]
    probabilities: dict[str, Tensor]


@dataclass(frozen=True)
class Unreadable:
    """A file of which some window, or all, cannot be decoded; ``reason`` is one line that names it."""

    path: Path
    reason: str


def clip_length(preprocessing: Preprocessing, info: VideoInfo) -> float | None:
    """Seconds of a file that a clip covers; None where it is spread over all of it."""
    if is_spread(preprocessing):
        return None
    if preprocessing.fps is not None:
        return preprocessing.frames / preprocessing.fps
    assert preprocessing.stride is not None, "neither spread nor a frame rate"
    return preprocessing.frames * preprocessing.stride / info.fps


def slide(duration: float, length: float, stride: float) -> list[Span]:
    """Windows of ``length`` seconds, one every ``stride`` seconds from 0, that lie within ``duration``.

    What the last of them leaves over at the end is covered by one more, which ends with the file.
    """
    last = duration - length
    starts = [i * stride for i in range(int((last + SAME_MOMENT) / stride) + 1)]
    if starts[-1] < last - SAME_MOMENT:
        starts.append(last)
    return [(start, min(start + length, duration)) for start in starts]


def predict(
    model: VideoClassifier,
    files: Sequence[Path],
    *,
    sliding: Sliding,
    device: torch.device,
    batch_size: int = 8,
    workers: int = 0,
    precision: str = "fp32",
    decoder: str = "auto",
    advance: Callable[[float], None] = lambda share: None,
) -> Iterator[Prediction | Unreadable]:
    """Classify ``files``, in their order; each is given as soon as its last window has been classified.

    Args:
        model: on ``device``; it is put into evaluation mode.
        batch_size: windows in a batch, of one file or of several.
        workers: processes that decode; 0 decodes in this one.
        advance: told how much has been done since it was last told, in files (a fraction of a long one).
    """
    model.eval()
    given_up: set[int] = set()
    chunks: Any = _plan(files, sliding, model.preprocessing, batch_size, given_up)
    loader: DataLoader[Any] = DataLoader(
        _Chunks(model.preprocessing, decoder),
        batch_size=None,
        sampler=chunks,
        num_workers=min(workers, len(files)),
        worker_init_fn=leave_interrupts_to_the_parent,
        generator=torch.Generator(),  # for seeds that nothing here uses; the global one stays untouched
    )
    open_files: deque[_File] = deque()
    waiting: list[tuple[_File, Tensor]] = []

    def classify() -> None:
        with torch.inference_mode(), autocast(device, precision):
            logits = model(torch.stack([clip for _, clip in waiting]).to(device))
        for task, values in logits.items():
            values = values.float().cpu()
            found = values.sigmoid() if task in model.multilabel else values.softmax(dim=1)
            for (file, _), row in zip(waiting, found, strict=True):
                file.rows.setdefault(task, []).append(row)
        for file, _ in waiting:
            file.classified += 1
            advance(1 / file.windows)
        waiting.clear()

    def finished() -> Iterator[Prediction | Unreadable]:
        while open_files and open_files[0].done:
            yield open_files.popleft().result()

    for chunk, clips in loader:
        if chunk.file in given_up:  # decoded ahead before its first error was known
            continue
        if not open_files or open_files[-1].index != chunk.file:
            open_files.append(_File(chunk.file, chunk.path, chunk.windows))
        file = open_files[-1]
        if isinstance(clips, str):
            file.reason = clips
            given_up.add(file.index)
            waiting[:] = [(of, clip) for of, clip in waiting if of is not file]
            advance(1 - file.classified / file.windows)
        else:
            file.spans += chunk.spans
            for clip in clips:
                waiting.append((file, clip))
                if len(waiting) == batch_size:
                    classify()
        yield from finished()
    if waiting:
        classify()
    yield from finished()


@dataclass(frozen=True)
class _Chunk:
    """Some neighbouring windows of a file, decoded in one pass; ``windows`` counts all of the file.

    ``reason`` says why a file could not even be looked at.
    """

    file: int
    path: Path
    spans: tuple[Span, ...]
    windows: int
    info: VideoInfo | None
    reason: str | None = None


class _File:
    """A file of which windows are on their way."""

    def __init__(self, index: int, path: Path, windows: int) -> None:
        self.index, self.path, self.windows = index, path, windows
        self.spans: tuple[Span, ...] = ()
        self.classified = 0
        self.rows: dict[str, list[Tensor]] = {}
        self.reason: str | None = None

    @property
    def done(self) -> bool:
        return self.reason is not None or self.classified == self.windows

    def result(self) -> Prediction | Unreadable:
        if self.reason is not None:
            return Unreadable(self.path, self.reason)
        rows = {task: torch.stack(of_task) for task, of_task in self.rows.items()}
        return Prediction(self.path, self.spans, rows)


def _plan(
    files: Sequence[Path],
    sliding: Sliding,
    preprocessing: Preprocessing,
    batch_size: int,
    given_up: set[int],
) -> Iterator[_Chunk]:
    """The chunks of all files, in order, each file being looked at when it is its turn; no more of files in
    ``given_up``.
    """
    for index, path in enumerate(files):
        try:
            info = probe(path)
        except (ValueError, OSError) as error:
            yield _Chunk(index, path, (), 1, None, _reason(path, error))
            continue
        spans = sliding.spans(info, preprocessing)
        a_window = 3 * info.width * info.height * preprocessing.frames
        size = max(1, min(batch_size, _MOST_BYTES // a_window))
        for first in range(0, len(spans), size):
            if index in given_up:
                break
            yield _Chunk(index, path, tuple(spans[first : first + size]), len(spans), info)


class _Chunks(Dataset[Any]):
    """``chunks[chunk]`` is the chunk with its clips (n, C, T, H, W), or with one line of what is wrong."""

    def __init__(self, preprocessing: Preprocessing, decoder: str) -> None:
        self.preprocessing, self.decoder = preprocessing, decoder
        self._transform = EvaluationTransform(preprocessing)

    def __getitem__(self, chunk: _Chunk) -> tuple[_Chunk, Tensor | str]:
        if chunk.reason is not None:
            return chunk, chunk.reason
        try:
            return chunk, self._clips(chunk)
        except (ValueError, OSError) as error:
            return chunk, _reason(chunk.path, error)

    def _clips(self, chunk: _Chunk) -> Tensor:
        p = self.preprocessing
        if chunk.windows == 1:
            # as evaluate does it, short files and all
            sample = Sample((View(chunk.path),), "test", {}, row=str(chunk.path))
            return ClipDataset([sample], (), p, train=False, decoder=self.decoder)[1, 0]["video"]
        assert chunk.info is not None, "a file with several windows has been looked at"
        times: list[float] = []
        for start, end in chunk.spans:
            window = Window.of(chunk.path, chunk.info, start, end)
            times += [start + window.inside(time) for time in evaluation_times(p, window.info)]
        frames = read_frames(chunk.path, times, decoder=self.decoder)
        return torch.cat([self._transform(clip) for clip in frames.split(p.frames)])


def _reason(path: Path, error: Exception) -> str:
    """One line that names the file."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = " ".join(text.split())
    return line if line.startswith(str(path)) else f"{path}: {line}"
