"""Batches of clips, decoded ahead by worker processes.

Which clips make up batch i of an epoch is a pure function of (seed, epoch), and what they look like is one of
(seed, epoch, index): neither depends on the number of workers, so an epoch number is all that resuming needs.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypedDict

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from unfreeze.data.dataset import ClipDataset, Item
from unfreeze.data.decode import VideoError
from unfreeze.data.order import epoch_order

Key = tuple[int, int]
Weights = Sequence[float] | NDArray[np.float64]


class Batch(TypedDict):
    """B samples, each in as many views as the one with most of them; what is missing is zeros.

    ``video``: (B, V, C, T, H, W) float32; ``view_mask``: (B, V) bool, True where there is a view; ``labels``:
    task -> (B,) int64, -1 masked, or for a multi-label task (B, classes) of 0 and 1, all -1 masked;
    ``index``: (B,). Where evaluation takes K copies of a sample, ``video`` and ``view_mask`` have B x K rows,
    those of a sample one after the other: ``video.unflatten(0, (B, K))``.
    """

    video: torch.Tensor
    view_mask: torch.Tensor
    labels: dict[str, torch.Tensor]
    index: torch.Tensor


class ClipLoader:
    """Iterating gives the batches of one epoch, the one last named with ``set_epoch`` (1 at first).

    Raises:
        VideoError: (iterating) a file cannot be read; one line names it, also when a worker found it.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        *,
        batch_size: int,
        workers: int,
        pin_memory: bool,
        weights: Weights | None = None,
    ) -> None:
        self.dataset = dataset
        self._batches = _EpochBatches(
            len(dataset), batch_size, seed=dataset.seed, shuffle=dataset.train, weights=weights
        )
        self._loader: DataLoader[Any] = DataLoader(
            _Caught(dataset),
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=_collate_caught,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=leave_interrupts_to_the_parent,
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
    dataset: ClipDataset,
    *,
    batch_size: int,
    workers: int = 0,
    pin_memory: bool = False,
    weights: Weights | None = None,
) -> ClipLoader:
    """Batches of ``dataset``: shuffled anew in each epoch if it is for training, in its order otherwise.

    No clip is left out. Should a single clip remain for the last training batch, it gets company from the
    batch before (see ``epoch_batches``). Among the processes of ``torch.distributed`` each gets its share.

    Args:
        workers: processes that decode; 0 decodes in this one.
        pin_memory: for copies to a CUDA device that overlap with computing.
        weights: one per sample: training draws with replacement in proportion to them (see ``epoch_order``).
    """
    return ClipLoader(dataset, batch_size=batch_size, workers=workers, pin_memory=pin_memory, weights=weights)


def epoch_batches(
    count: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool,
    weights: Weights | None = None,
    rank: int = 0,
    world: int = 1,
) -> list[list[int]]:
    """The indices of each batch of an epoch, as ``epoch_order`` has them: in one process and without weights
    each of ``range(count)`` once.

    BatchNorm cannot learn from a lone clip, and fails on one whose features have shrunk to a single value per
    channel. So where clips are shuffled, a last batch of size 1 takes a second clip from the batch before,
    unless that would only make another lone one (``batch_size`` 2 and less).
    """
    order = epoch_order(
        count, seed=seed, epoch=epoch, shuffle=shuffle, weights=weights, rank=rank, world=world
    )
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if shuffle and batch_size > 2 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-1].insert(0, batches[-2].pop())
    return batches


class _EpochBatches(Sampler[list[Key]]):
    """Lists of (epoch, index): the key carries the epoch to workers that were started epochs ago."""

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        weights: Weights | None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        assert weights is None or len(weights) == count, "one weight per sample"
        rank, world = _place()
        self.epoch = 1
        self._of = partial(
            epoch_batches,
            count,
            batch_size,
            seed=seed,
            shuffle=shuffle,
            weights=weights,
            rank=rank,
            world=world,
        )

    def __len__(self) -> int:
        return len(self._of(epoch=1))  # as many in every epoch

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        for batch in self._of(epoch=epoch):
            yield [(epoch, index) for index in batch]


def _place() -> tuple[int, int]:
    """Which of how many processes this is."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _Caught(Dataset[Item | VideoError]):
    """Gives a ``VideoError`` as the item: one that a worker raises comes wrapped in a traceback."""

    def __init__(self, dataset: ClipDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Item | VideoError:
        try:
            return self.dataset[key]
        except VideoError as error:
            return error


def _collate_caught(items: Sequence[Item | VideoError]) -> Batch | VideoError:
    good: list[Item] = []
    for item in items:
        if isinstance(item, VideoError):
            return item
        good.append(item)
    return collate(good)


def collate(items: Sequence[Item]) -> Batch:
    """Samples as a batch."""
    videos = [item["video"] for item in items]
    videos = [video if video.dim() == 6 else video[None] for video in videos]  # (K, V, C, T, H, W)
    views = max(video.shape[1] for video in videos)
    masks = [torch.arange(views) < video.shape[1] for video in videos]
    return {
        "video": torch.cat([_with_views(video, views) for video in videos]),
        "view_mask": torch.stack(masks).repeat_interleave(len(videos[0]), 0),
        "labels": {task: _together([item["labels"][task] for item in items]) for task in items[0]["labels"]},
        "index": torch.tensor([item["index"] for item in items]),
    }


def _with_views(video: torch.Tensor, views: int) -> torch.Tensor:
    """(K, V, …) -> (K, views, …), with zeros for what is missing."""
    missing = views - video.shape[1]
    if not missing:
        return video
    return torch.cat([video, video.new_zeros((len(video), missing, *video.shape[2:]))], 1)


def _together(labels: Sequence[int | torch.Tensor]) -> torch.Tensor:
    """(B,) of class indices, or (B, classes) of multi-label ones."""
    return torch.stack([torch.as_tensor(label) for label in labels])


def leave_interrupts_to_the_parent(worker: int) -> None:
    """What a worker does at its start, so that Ctrl-C is the parent's alone."""
    # Ctrl-C reaches every process of the terminal; the parent ends in order, and needs its workers to do so
    signal.signal(signal.SIGINT, signal.SIG_IGN)
