"""Batches of clips, decoded ahead by worker processes.

Which clips make up batch i of an epoch is a pure function of (seed, epoch), and what they look like is one of
(seed, epoch, index): neither depends on the number of workers, so an epoch number is all that resuming needs.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from unfreeze.data.dataset import ClipDataset, Item, derive_seed
from unfreeze.data.decode import VideoError

Key = tuple[int, int]


class Batch(TypedDict):
    """``video``: (B, V, C, T, H, W) float32; ``labels``: task -> (B,) int64, -1 masked; ``index``: (B,)."""

    video: torch.Tensor
    labels: dict[str, torch.Tensor]
    index: torch.Tensor


class ClipLoader:
    """Iterating gives the batches of one epoch, the one last named with ``set_epoch`` (1 at first).

    Raises:
        VideoError: (iterating) a file cannot be read; one line names it, also when a worker found it.
    """

    def __init__(self, dataset: ClipDataset, *, batch_size: int, workers: int, pin_memory: bool) -> None:
        self.dataset = dataset
        self._batches = _EpochBatches(len(dataset), batch_size, seed=dataset.seed, shuffle=dataset.train)
        self._loader: DataLoader[Any] = DataLoader(
            _Caught(dataset),
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_interrupts_to_the_parent,
            generator=torch.Generator(),  # for seeds that nothing here uses; the global one stays untouched
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 1) that the next iteration is for."""
        self._batches.epoch = epoch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            if isinstance(batch, VideoError):
                # A new one: raising `batch` itself would tie it, by its traceback, into a cycle with this
                # frame, and workers that are left to the garbage collector take seconds to end.
                raise VideoError(str(batch))
            yield batch


def make_loader(
    dataset: ClipDataset, *, batch_size: int, workers: int = 0, pin_memory: bool = False
) -> ClipLoader:
    """Batches of ``dataset``: shuffled anew in each epoch if it is for training, in its order otherwise.

    No clip is left out. Should a single clip remain for the last training batch, it gets company from the
    batch before (see ``epoch_batches``).

    Args:
        workers: processes that decode; 0 decodes in this one.
        pin_memory: for copies to a CUDA device that overlap with computing.
    """
    return ClipLoader(dataset, batch_size=batch_size, workers=workers, pin_memory=pin_memory)


def epoch_batches(count: int, batch_size: int, *, seed: int, epoch: int, shuffle: bool) -> list[list[int]]:
    """The indices of each batch of an epoch; together each of ``range(count)`` once.

    BatchNorm cannot learn from a lone clip, and fails on one whose features have shrunk to a single value per
    channel. So where clips are shuffled, a last batch of size 1 takes a second clip from the batch before,
    unless that would only make another lone one (``batch_size`` 2 and less).
    """
    order = list(range(count))
    if shuffle:
        generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
        order = torch.randperm(count, generator=generator).tolist()
    batches = [order[start : start + batch_size] for start in range(0, count, batch_size)]
    if shuffle and batch_size > 2 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-1].insert(0, batches[-2].pop())
    return batches


class _EpochBatches(Sampler[list[Key]]):
    """Lists of (epoch, index): the key carries the epoch to workers that were started epochs ago."""

    def __init__(self, count: int, batch_size: int, *, seed: int, shuffle: bool) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.epoch = 1

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        for batch in epoch_batches(
            self.count, self.batch_size, seed=self.seed, epoch=epoch, shuffle=self.shuffle
        ):
            yield [(epoch, index) for index in batch]


class _Caught(Dataset[Item | VideoError]):
    """Gives a ``VideoError`` as the item: one that a worker raises comes wrapped in a traceback."""

    def __init__(self, dataset: ClipDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Item | VideoError:
        try:
            return self.dataset[key]
        except VideoError as error:
            return error


def _collate(items: Sequence[Item | VideoError]) -> Batch | VideoError:
    good: list[Item] = []
    for item in items:
        if isinstance(item, VideoError):
            return item
        good.append(item)
    return {
        "video": torch.stack([item["video"] for item in good]),
        "labels": {task: torch.tensor([item["labels"][task] for item in good]) for task in good[0]["labels"]},
        "index": torch.tensor([item["index"] for item in good]),
    }


def _leave_interrupts_to_the_parent(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the parent ends in order, and needs its workers to do so
    signal.signal(signal.SIGINT, signal.SIG_IGN)
