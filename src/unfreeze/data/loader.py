"""Batches of clips, decoded ahead by worker processes.

Which clips make up batch i of an epoch is a pure function of (seed, epoch), and what they look like is one of
(seed, epoch, index): neither depends on the number of workers, so an epoch number is all that resuming needs.

A clip of which somebody else keeps all that is needed is not decoded: whether it is kept is asked in this
process, when the clips of a batch are chosen, and workers learn of the answer alone.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from unfreeze.data.batch import Batch, Part, collate, collate_parts
from unfreeze.data.dataset import ClipDataset, Item
from unfreeze.data.decode import VideoError
from unfreeze.data.order import epoch_order
from unfreeze.data.refresh import view_epochs

# Of a clip's index and version: whether what is made of it is kept, so that it need not be decoded.
Kept = Callable[[int, int], bool]
Weights = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Key:
    """What a worker is asked for: ``dataset[version, index]``, or all of it but the video."""

    version: int
    index: int
    kept: bool


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
        refresh: float = 1.0,
        kept: Kept | None = None,
    ) -> None:
        self.dataset = dataset
        self._batches = _EpochBatches(
            len(dataset),
            batch_size,
            seed=dataset.seed,
            train=dataset.train,
            weights=weights,
            refresh=refresh,
            kept=kept,
        )
        join = collate if kept is None else partial(collate_parts, copies=dataset.copies)
        self._loader: DataLoader[Any] = DataLoader(
            _Caught(dataset) if kept is None else _CaughtParts(dataset),
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=partial(_collate_caught, join),
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=leave_interrupts_to_the_parent,
            generator=torch.Generator(),  # for seeds that nothing here uses; the global one stays untouched
        )

    def set_epoch(self, epoch: int, refresh: float | None = None) -> None:
        """Choose the epoch (from 1) that the next iteration is for.

        Args:
            refresh: the probability of that epoch, where it is another one than was given at first.
        """
        self._batches.epoch = epoch
        if refresh is not None:
            self._batches.refresh = refresh

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
    refresh: float = 1.0,
    kept: Kept | None = None,
) -> ClipLoader:
    """Batches of ``dataset``: shuffled anew in each epoch if it is for training, in its order otherwise.

    No clip is left out. Should a single clip remain for the last training batch, it gets company from the
    batch before (see ``epoch_batches``). Among the processes of ``torch.distributed`` each gets its share.

    Args:
        workers: processes that decode; 0 decodes in this one.
        pin_memory: for copies to a CUDA device that overlap with computing.
        weights: one per sample: training draws with replacement in proportion to them (see ``epoch_order``).
        refresh: probability that an epoch after the first shows a training clip anew (see ``view_epoch``);
            otherwise it is as it was. In evaluation all are as in epoch 1 in any case.
        kept: of a clip's index and version (the epoch whose draw it shows; 1 in evaluation): whether what is
            made of it is kept, so that it need not be decoded. Asked in this process, when a batch is asked
            of the workers, which is some batches ahead. With it batches have rows in place of padded videos,
            whether any clip is kept or not (see ``Batch``).

    Raises:
        ValueError: a batch without clips, or a probability that is none.
    """
    return ClipLoader(
        dataset,
        batch_size=batch_size,
        workers=workers,
        pin_memory=pin_memory,
        weights=weights,
        refresh=refresh,
        kept=kept,
    )


def batches_per_epoch(count: int, batch_size: int) -> int:
    """How many batches an epoch of ``count`` training clips has for this process."""
    rank, world = _place()
    return len(epoch_batches(count, batch_size, seed=0, epoch=1, shuffle=True, rank=rank, world=world))


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
    """Lists of keys, which carry the epoch to workers that were started epochs ago."""

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        seed: int,
        train: bool,
        weights: Weights | None,
        refresh: float,
        kept: Kept | None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if not 0 <= refresh <= 1:
            raise ValueError(f"refresh must be from 0 to 1, not {refresh}")
        assert weights is None or len(weights) == count, "one weight per sample"
        rank, world = _place()
        self.epoch = 1
        self._of = partial(
            epoch_batches,
            count,
            batch_size,
            seed=seed,
            shuffle=train,
            weights=weights,
            rank=rank,
            world=world,
        )
        self.refresh = refresh
        self._versions = partial(view_epochs, seed, count=count)
        self._train, self._kept = train, kept

    def __len__(self) -> int:
        return len(self._of(epoch=1))  # as many in every epoch

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        versions = self._versions(epoch=epoch, refresh=self.refresh if self._train else 0.0)
        for batch in self._of(epoch=epoch):
            yield [self._key(index, int(versions[index])) for index in batch]

    def _key(self, index: int, version: int) -> Key:
        return Key(version, index, self._kept is not None and self._kept(index, version))


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
            return self.dataset[key.version, key.index]
        except VideoError as error:
            return error


class _CaughtParts(Dataset[Part | VideoError]):
    """The same, where some are kept."""

    def __init__(self, dataset: ClipDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Part | VideoError:
        views = len(self.dataset.samples[key.index].views)
        if key.kept:
            return Part(key.index, key.version, self.dataset.labels(key.version, key.index), views, None)
        try:
            item = self.dataset[key.version, key.index]
        except VideoError as error:
            return error
        return Part(key.index, key.version, item["labels"], views, item["video"])


def _collate_caught(join: Callable[[Sequence[Any]], Batch], items: Sequence[Any]) -> Batch | VideoError:
    for item in items:
        if isinstance(item, VideoError):
            return item
    return join(items)


def leave_interrupts_to_the_parent(worker: int) -> None:
    """What a worker does at its start, so that Ctrl-C is the parent's alone."""
    # Ctrl-C reaches every process of the terminal; the parent ends in order, and needs its workers to do so
    signal.signal(signal.SIGINT, signal.SIG_IGN)
