"""Clips as a map-style data set in which an item is a pure function of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from unfreeze.data.decode import VideoInfo, read_frames
from unfreeze.data.manifest import Label, Sample
from unfreeze.data.sampling import segment_times, window_times
from unfreeze.data.transforms import Augment, EvaluationTransform, TrainingTransform
from unfreeze.preprocessing import Preprocessing

MASKED = -1


class Item(TypedDict):
    """``video``: (V, C, T, H, W) float32, normalised; ``labels``: task -> class index, -1 where masked."""

    video: torch.Tensor
    labels: dict[str, int]
    index: int


class ClipDataset(Dataset[Item]):
    """``dataset[epoch, index]`` is the clip ``samples[index]`` as it is seen in that epoch.

    The epoch is part of the key and no state of the data set, so workers that live through all epochs need
    not be told of it, and the same key gives the same bits in whatever process and order. In evaluation the
    epoch makes no difference. A plain ``dataset[index]`` is that of epoch 1.

    Args:
        samples: the clips.
        tasks: the tasks whose labels are wanted.
        preprocessing: what the model expects. With its ``fps`` a clip is a window of the video, without one
            it is spread over the whole video; see ``unfreeze.data.sampling``.
        train: random moments and augmentation instead of the middle.
        seed: of all randomness in training.
        augment: see ``TrainingTransform``.
        flip: mirror half of the training clips.

    Raises:
        VideoError: (an item) the file cannot be read; the message names it.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        tasks: Iterable[str],
        preprocessing: Preprocessing,
        *,
        train: bool,
        seed: int = 0,
        augment: Augment = "light",
        flip: bool = False,
    ) -> None:
        self.samples = tuple(samples)
        self.tasks = tuple(tasks)
        self.preprocessing = preprocessing
        self.train = train
        self.seed = seed
        self.flip = flip
        self._augmented = TrainingTransform(preprocessing, augment)
        self._plain = EvaluationTransform(preprocessing)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        epoch, index = key if isinstance(key, tuple) else (1, key)
        sample = self.samples[index]
        labels = {task: sample.labels.get(task) for task in self.tasks}
        return {
            "video": self._clip(sample, epoch, index)[None],
            "labels": {task: _encoded(label) for task, label in labels.items()},
            "index": index,
        }

    def _clip(self, sample: Sample, epoch: int, index: int) -> torch.Tensor:
        if not self.train:
            return self._plain(read_frames(sample.path, self._centred))[0]
        # torchvision draws from the global generator; the caller's own draws must not notice
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(self.seed, epoch, index))
            frames = read_frames(sample.path, self._random)
            flip = self.flip and torch.rand(()).item() < 0.5
            return self._augmented(frames, flip=flip)

    def _centred(self, info: VideoInfo) -> list[float]:
        p = self.preprocessing
        if p.fps is None:
            return segment_times(info.duration, p.frames)
        return window_times(info.duration, p.frames, p.fps)

    def _random(self, info: VideoInfo) -> list[float]:
        p = self.preprocessing
        if p.fps is None:
            return segment_times(info.duration, p.frames, torch.rand(p.frames).tolist())
        return window_times(info.duration, p.frames, p.fps, torch.rand(()).item())


def _encoded(label: Label | None) -> int:
    assert not isinstance(label, tuple), "multi-label tasks are not encoded yet"
    return MASKED if label is None else label


def derive_seed(*keys: int) -> int:
    """A 64-bit seed for what ``keys`` (not negative) name together; close keys give unrelated seeds."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0])
