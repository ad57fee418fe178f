"""The stores of a run's splits, at the boundary where they are now."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch

from unfreeze.data import ClipDataset
from unfreeze.prefix.key import cache_key
from unfreeze.prefix.packing import Packing
from unfreeze.prefix.store import ActivationStore, Spec, Tier, has_shards
from unfreeze.training.config import TrainConfig
from unfreeze.training.prefix.memo import Memo


def identity(config: TrainConfig, device: torch.device) -> tuple[object, ...]:
    """What activations depend on beside clips and weights."""
    form = "plain" if config.exact else f"inference graph, compiled: {config.compile}"
    return (form, config.precision, config.cache_dtype, device.type, torch.__version__)


class Caches:
    """Memos by split, and what moving them to another boundary takes.

    Attributes:
        at: the boundary; 0 where nothing is kept.

    Args:
        datasets: by split, as the loaders show them.
        splits: those that are kept.
        tier: where.
        about: what the activations depend on beside clips and weights.
    """

    def __init__(
        self,
        datasets: Mapping[str, ClipDataset],
        splits: Collection[str],
        tier: Tier,
        about: tuple[object, ...],
    ) -> None:
        self.at = 0
        self._datasets = {split: dataset for split, dataset in datasets.items() if split in splits}
        self._rows = {
            split: [dataset.rows(index) for index in range(len(dataset))]
            for split, dataset in self._datasets.items()
        }
        self._tier = tier
        self._about = about
        self._fingerprint = functools.cache(lambda split: self._datasets[split].fingerprint())
        self._memos: dict[str, Memo] = {}
        self._notes: list[str] = []  # of stores that are closed

    def get(self, split: str) -> Memo | None:
        """What is kept of a split now; None where nothing is."""
        return self._memos.get(split)

    def drop_lower(self) -> None:
        """Do without the boundary that the last move came from."""
        for memo in self._memos.values():
            if memo.lower is not None:
                self._close(memo.lower)
                memo.lower = None

    def on_disk(self, digests: Sequence[str]) -> int:
        """The highest boundary at which an earlier run has left clips; 0 where there is none.

        Args:
            digests: of the first blocks, by their number.
        """
        folder = self._tier.folder
        if folder is None:
            return 0
        there = (at for at in range(len(digests) - 1, 0, -1) if self._left(folder, digests[at]))
        return next(there, 0)

    def move(self, at: int, packing: Packing, digest: str, *, from_lower: bool = False) -> None:
        """Keep clips at another boundary.

        Args:
            at: that boundary, above 0.
            packing: of what crosses it.
            digest: of the blocks up to it.
            from_lower: what is kept now lies at a lower boundary, and is to be read there for an epoch.
        """
        lower = {split: memo.store for split, memo in self._memos.items()} if from_lower else {}
        if not from_lower:
            self.forget()  # first, so that there is room
        self.at = at
        self._memos = {
            split: Memo(self._open(split, packing, digest), rows.__getitem__, lower.get(split))
            for split, rows in self._rows.items()
        }

    def forget(self) -> None:
        """Write what is not on the disk yet, and let the memory go."""
        self.drop_lower()
        for memo in self._memos.values():
            self._close(memo.store)
        self._memos, self.at = {}, 0

    def notes(self) -> list[str]:
        """What the user should know and has not been told yet."""
        found = [*self._notes, *(line for memo in self._memos.values() for line in memo.store.notes())]
        self._notes = []
        return list(dict.fromkeys(found))

    def _left(self, folder: Path, digest: str) -> bool:
        return all(has_shards(folder, self._key(split, digest)) for split in self._rows)

    def _key(self, split: str, digest: str) -> str:
        return cache_key([self._fingerprint(split), digest, *self._about])

    def _open(self, split: str, packing: Packing, digest: str) -> ActivationStore:
        # one limit holds for all stores of a folder; in memory, each has a share of it
        share = sum(self._rows[split]) / sum(map(sum, self._rows.values()))
        tier = self._tier
        memory_limit = tier.limit if tier.memory_limit is None else tier.memory_limit
        return ActivationStore(
            self._rows[split],
            Spec(packing.shapes, packing.dtypes),
            memory=tier.memory,
            folder=tier.folder,
            limit=tier.limit,
            key=self._key(split, digest),
            memory_limit=round(memory_limit * share),
        )

    def _close(self, store: ActivationStore) -> None:
        store.close()
        self._notes += store.notes()
