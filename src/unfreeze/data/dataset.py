"""Clips as a map-style data set in which an item is a pure function of (seed, epoch, index)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from unfreeze.data.decode import DecodedVideo, VideoError, VideoInfo, pick_decoder, read_all, read_frames
from unfreeze.data.identity import Digests, file_digest, surroundings
from unfreeze.data.manifest import MASKED, Label, Sample, View
from unfreeze.data.sampling import clip_times, evaluation_times, is_spread
from unfreeze.data.seeds import derive_seed
from unfreeze.data.transforms import (
    EvaluationTransform,
    TrainingTransform,
    check_swaps,
    draw_speed,
    flips,
    shrink,
    swap_labels,
    training_side,
)
from unfreeze.preprocessing import Preprocessing

# files beside those that decode and transform on which the pixels of an item depend
_SOURCES = ("dataset.py", "sampling.py", "seeds.py")


class Item(TypedDict):
    """A sample as the model takes it.

    ``video``: (V, C, T, H, W) float32, normalised, with a leading K where evaluation takes K > 1 copies of a
    sample; ``labels``: task -> class index, or for a multi-label task (classes,) int64 of 0 and 1; -1 (all of
    them) where masked.
    """

    video: torch.Tensor
    labels: dict[str, int | torch.Tensor]
    index: int


class Cache(Protocol):
    """Keeps decoded views for the next epoch; see ``unfreeze.data.clip_cache``."""

    def video(
        self,
        view: View,
        recipe: str,
        make: Callable[[], DecodedVideo],
        *,
        decoder: str = "auto",
        whole: bool = True,
    ) -> DecodedVideo | None:
        """What ``make`` gives, or None where it is not kept: read as if there were no cache."""
        ...


class _Seen(NamedTuple):
    """One view of one sample: (T, C, H, W) uint8 frames, and what was made of them."""

    frames: torch.Tensor
    clip: torch.Tensor


class ClipDataset(Dataset[Item]):
    """``dataset[epoch, index]`` is the sample ``samples[index]`` as it is seen in that epoch.

    The epoch is part of the key and no state of the data set, so workers that live through all epochs need
    not be told of it, and the same key gives the same bits in whatever process and order. In evaluation the
    epoch makes no difference. A plain ``dataset[index]`` is that of epoch 1.

    In training, frames are made as small as augmentation needs them (``training_side``) before anything else,
    so that a run that keeps them in a cache sees the same bits as one that does not. Whether a sample is
    mirrored, and how fast it is played, is drawn once for all its views.

    Args:
        samples: what to show.
        tasks: the tasks whose labels are wanted; task -> class names serves as ``classes``, too.
        preprocessing: what the model expects. With its ``fps`` or ``stride`` a clip is a window of the video,
            otherwise it is spread over the whole video; see ``unfreeze.data.sampling``.
        train: random moments and augmentation instead of the middle.
        seed: of all randomness in training.
        augment: the preset of ``TrainingTransform``.
        flip: mirror half of the samples; None is as ``augment`` has it.
        flip_swap: task -> class -> the class that it becomes in a mirrored clip.
        classes: task -> class names; for multi-label tasks and ``flip_swap``.
        multilabel: the tasks whose labels are tuples.
        eval_clips: clips that evaluation takes of every view, evenly over its length.
        eval_crops: crops that evaluation takes of every clip; copy k is clip k // crops, crop k % crops.
        decoder: see ``read_frames``.
        cache: keeps decoded views.

    Raises:
        VideoError: (an item) the file cannot be read; the message names it.
        ValueError: a swap table, or a preset, that does not exist.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        tasks: Iterable[str] | Mapping[str, Sequence[str]],
        preprocessing: Preprocessing,
        *,
        train: bool,
        seed: int = 0,
        augment: str = "light",
        flip: bool | None = None,
        flip_swap: Mapping[str, Any] | None = None,
        classes: Mapping[str, Sequence[str]] | None = None,
        multilabel: frozenset[str] = frozenset(),
        eval_clips: int = 1,
        eval_crops: int = 1,
        decoder: str = "auto",
        cache: Cache | None = None,
    ) -> None:
        if classes is None:
            classes = tasks if isinstance(tasks, Mapping) else {}
        self.samples = tuple(samples)
        self.tasks = tuple(tasks)
        self.preprocessing = preprocessing
        self.train = train
        self.seed = seed
        self.augment = augment
        self.flips = train and flips(augment, flip)
        self.copies = 1 if train else eval_clips * eval_crops
        self.decoder = decoder
        self.cache = cache
        self._eval_clips, self._eval_crops = eval_clips, eval_crops
        self._swaps = check_swaps(flip_swap, classes)
        self._widths = {task: len(classes[task]) for task in self.tasks if task in multilabel}
        self._side = training_side(preprocessing)
        self._augmented = TrainingTransform(preprocessing, augment)
        self._plain = EvaluationTransform(preprocessing, eval_crops)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        epoch, index = key if isinstance(key, tuple) else (1, key)
        sample = self.samples[index]
        mirrored = False
        if self.train:
            views, mirrored = self._training_views(sample, epoch, index)
            video = torch.stack([view.clip for view in views])
        else:
            video = torch.stack([view.clip for view in self._evaluation_views(sample)], 1)
            video = video if self.copies > 1 else video[0]
        return {"video": video, "labels": self._labels(sample, mirrored=mirrored), "index": index}

    def labels(self, epoch: int, index: int) -> dict[str, int | torch.Tensor]:
        """The labels of ``dataset[epoch, index]``, without decoding it."""
        mirrored = False
        if self.train and self._swaps:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch, index))
            mirrored = self._draw_mirrored(generator)
        return self._labels(self.samples[index], mirrored=mirrored)

    def rows(self, index: int) -> int:
        """The number of clips (C, T, H, W) that ``dataset[epoch, index]`` is made of: its views, times
        ``copies``.
        """
        return len(self.samples[index].views) * self.copies

    def fingerprint(self) -> str:
        """A digest of everything that the videos of all items depend on, and not their labels.

        It is the same in another process, and on a copy of the files with their times. Only training
        depends on ``seed``, ``augment`` and ``flip``, and only evaluation on ``eval_clips`` and
        ``eval_crops``. A cache of decoded views makes no difference.

        Raises:
            VideoError: a file is not there, or cannot be read.
        """
        digests: Digests = {}
        parts = (
            surroundings(pick_decoder(self.decoder), *_SOURCES),
            sorted(self.preprocessing.to_dict().items()),
            ("train", self.seed, self.augment, self.flips)
            if self.train
            else ("evaluation", self._eval_clips, self._eval_crops),
            [
                [(_digest(view, digests), view.start, view.end) for view in sample.views]
                for sample in self.samples
            ],
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def frames(self, epoch: int, index: int) -> list[torch.Tensor]:
        """What ``dataset[epoch, index]`` is made of: (T, C, H, W) uint8 for every view, before it is varied.

        In evaluation they are resized, and with several clips T is that of all of them.
        """
        sample = self.samples[index]
        views = (
            self._training_views(sample, epoch, index)[0] if self.train else self._evaluation_views(sample)
        )
        return [view.frames for view in views]

    def _training_views(self, sample: Sample, epoch: int, index: int) -> tuple[list[_Seen], bool]:
        """The views, and whether they are mirrored."""
        # torchvision draws from the global generator; the caller's own draws must not notice
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(self.seed, epoch, index))
            mirrored = self._draw_mirrored(torch.default_generator)
            speed = draw_speed(self.augment)
            views = []
            for view in sample.views:
                frames = self._training_frames(view, lambda info: self._random_times(info, speed))
                views.append(_Seen(frames, self._augmented(frames, flip=mirrored)))
        return views, mirrored

    def _draw_mirrored(self, generator: torch.Generator) -> bool:
        """The first draw of a sample."""
        return self.flips and torch.rand((), generator=generator).item() < 0.5

    def _random_times(self, info: VideoInfo, speed: float) -> list[float]:
        p = self.preprocessing
        if not is_spread(p):
            return clip_times(p, info, position=torch.rand(()).item(), speed=speed)
        offsets = torch.rand(p.frames).tolist()
        position = torch.rand(()).item() if speed < 1 else 0.0
        return clip_times(p, info, position=position, offsets=offsets, speed=speed)

    def _training_frames(self, view: View, times: Callable[[VideoInfo], Sequence[float]]) -> torch.Tensor:
        """Frames of a view, made small."""

        def smaller(frames: torch.Tensor) -> torch.Tensor:
            return shrink(frames, self._side, self.preprocessing.interpolation)

        def all_of_it() -> DecodedVideo:
            return read_all(view.path, start=view.start, end=view.end, decoder=self.decoder, resize=smaller)

        if self.cache is not None:
            recipe = f"shrunk to {self._side}, {self.preprocessing.interpolation}"
            kept = self.cache.video(view, recipe, all_of_it, decoder=self.decoder)
            if kept is not None:
                return _by_pixel(kept.at(times))
        frames = read_frames(view.path, times, start=view.start, end=view.end, decoder=self.decoder)
        return _by_pixel(smaller(frames))

    def _evaluation_views(self, sample: Sample) -> list[_Seen]:
        """The views, each with a clip (K, C, T, H, W)."""
        views = []
        for view in sample.views:
            frames = self._evaluation_frames(view)
            clips = [self._plain(clip) for clip in frames.split(self.preprocessing.frames)]
            views.append(_Seen(frames, torch.cat(clips)))
        return views

    def _evaluation_frames(self, view: View) -> torch.Tensor:
        """(clips x T, C, H, W), always the same, resized as the model expects."""

        def make() -> DecodedVideo:
            chosen: list[tuple[list[float], VideoInfo]] = []

            def times(info: VideoInfo) -> list[float]:
                chosen.append((evaluation_times(self.preprocessing, info, self._eval_clips), info))
                return chosen[0][0]

            frames = read_frames(view.path, times, start=view.start, end=view.end, decoder=self.decoder)
            frames = self._plain.resize(_by_pixel(frames))
            return DecodedVideo(frames, np.asarray(chosen[0][0]), chosen[0][1])

        kept = None
        if self.cache is not None:
            p = self.preprocessing
            recipe = (
                f"{self._eval_clips} clips of {p.frames}, fps {p.fps}, stride {p.stride}, {p.short}, "
                f"resized to {p.resize}, {p.interpolation}"
            )
            kept = self.cache.video(view, recipe, make, decoder=self.decoder, whole=False)
        return _by_pixel((make() if kept is None else kept).frames)

    def _labels(self, sample: Sample, *, mirrored: bool) -> dict[str, int | torch.Tensor]:
        labels = {task: sample.labels.get(task) for task in self.tasks}
        if mirrored:
            labels = swap_labels(labels, self._swaps)
        return {task: self._encoded(task, label) for task, label in labels.items()}

    def _encoded(self, task: str, label: Label | None) -> int | torch.Tensor:
        if task not in self._widths:
            assert not isinstance(label, tuple), f"{task} is not among the multi-label tasks"
            return MASKED if label is None else label
        if label is None:
            return torch.full((self._widths[task],), MASKED)
        assert isinstance(label, tuple), f"{task} has labels of single classes"
        encoded = torch.zeros(self._widths[task], dtype=torch.int64)
        encoded[list(label)] = 1
        return encoded


def _digest(view: View, digests: Digests) -> str:
    try:
        return file_digest(view.path, digests)
    except FileNotFoundError:
        raise VideoError(f"{view.path}: no such file; name a video file") from None
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise VideoError(f"{view.path}: {reason}; name a video file that can be read") from None


def _by_pixel(frames: torch.Tensor) -> torch.Tensor:
    """The same frames, laid out in memory as decoders do it, wherever they come from: sums over a picture
    depend on that in the last bit.
    """
    return frames.contiguous(memory_format=torch.channels_last)
