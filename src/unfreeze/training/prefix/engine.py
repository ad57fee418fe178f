"""The prefix engine of a run: at a transition it cuts the model anew, and moves the cache if that pays."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import takewhile

import torch
from torch import Tensor, nn

from unfreeze.data import ClipDataset
from unfreeze.data.batch import Batch
from unfreeze.freezer import Freezer, Transition
from unfreeze.prefix import Activations, CutError, FrozenPrefix, Layout
from unfreeze.prefix.graph import difference, inference_copy
from unfreeze.prefix.key import blocks_digest, cache_key
from unfreeze.prefix.packing import Packing
from unfreeze.prefix.savings import Savings
from unfreeze.prefix.store import ActivationStore, Spec
from unfreeze.training.config import TrainConfig
from unfreeze.training.precision import autocast
from unfreeze.training.prefix.choice import Choice
from unfreeze.training.prefix.cut import Cut
from unfreeze.training.prefix.memo import Memo

_TOO_FAR = 0.05  # beyond rounding, also that of bfloat16
_SMALLER = {"produced": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def last_row(activations: Activations) -> Activations:
    """What crosses the boundary of the last clip of a batch."""
    leaves = tuple(leaf[-1:] for leaf in activations.leaves)
    return replace(activations, leaves=leaves, items=1)


class PrefixEngine:
    """What runs of the model in an epoch, and what is kept of it for the next ones.

    Attributes:
        model: what batches go through, the model or a wrapper around it.
        cut: the model of the present epoch; None where nothing is frozen, or it cannot be cut.
        clip_shape: (C, T, H, W) of a clip.
        rows_at_once: about how many clips go through the frozen blocks together.

    Args:
        datasets: by split, ``train`` and ``val``, as the loaders show them.
        choice: whether, where and at which boundaries activations are kept.
        example: (N, C, T, H, W): two clips or more, on which every cut is proven.
        spent: seconds that the choice took.
    """

    def __init__(
        self,
        config: TrainConfig,
        freezer: Freezer,
        device: torch.device,
        datasets: Mapping[str, ClipDataset],
        choice: Choice,
        example: Tensor,
        spent: float = 0.0,
    ) -> None:
        self.model: nn.Module = freezer.model
        self.device = device
        self.precision = config.precision
        self.cut: Cut | None = None
        self.clip_shape = tuple(example.shape[1:])
        self.rows_at_once = config.batch_size
        self.choice = choice
        self._config = config
        self._freezer = freezer
        self._datasets = datasets
        self._example = example.to(device)
        self._boundary = 0
        self._runner: tuple[nn.Module, int] | None = None  # a copy, and how many blocks of it are the model's
        self._layouts: dict[int, Layout] = {}
        self._memos: dict[str, Memo] = {}
        self._kept_at = 0  # the boundary of the memos
        self._said: set[str] = set()
        self._difference = 0.0  # of the inference graph, as it was said
        self._savings = Savings(spent=spent)

    # --- asked in every epoch ---

    def start_epoch(self, transition: Transition) -> list[str]:
        """Cut the model behind what is frozen now; what the user should know of it."""
        started = time.perf_counter()
        trainable = set(transition.decision.trainable)
        frozen = takewhile(lambda part: part.name not in trainable, self._freezer.anatomy.blocks)
        before, self._boundary = self._boundary, sum(1 for _ in frozen)
        lines: list[str] = []
        if self._runner is not None:
            # from here on a block behind the boundary is not what was copied, even when it freezes again
            self._runner = (self._runner[0], min(self._runner[1], self._boundary))
        if self._boundary != before:
            lines += self._cut()
        if self.cut is None:
            self._move(0)
        elif self.choice.on:
            history = self._freezer.history
            lines += self._move(self.choice.boundary(history, self._boundary, filled=self._kept_at))
        self._savings = self._savings.spend(time.perf_counter() - started)
        news = [line for line in lines if line not in self._said]
        self._said.update(news)
        return news

    @property
    def refresh(self) -> float:
        """The share of the training clips that are drawn anew in the present epoch."""
        return self._config.cache_refresh if self.cut is not None and self.choice.keeps("train") else 1.0

    def memo(self, split: str) -> Memo | None:
        """What is kept of a split in the present epoch; None where nothing is."""
        return self._memos.get(split)

    def is_kept(self, split: str, index: int, version: int) -> bool:
        """Whether a clip need not be decoded."""
        memo = self._memos.get(split)
        return memo is not None and memo.has(index, version)

    def count(self, memo: Memo, batch: Batch, *, decoded: int, moved: int) -> None:
        """Take note of a batch.

        Args:
            decoded: clips that were; the others were read.
            moved: clips that were read at a lower boundary.
        """
        rows = [memo.rows(int(index)) for index in batch["index"]]
        each = sum(rows) / len(rows)  # of a sample, about
        assert self.choice.planner is not None, "who keeps has a plan"
        self._savings = self._savings.add(
            self.choice.planner.costs,
            self._kept_at,
            read=round(each * (len(rows) - decoded)),
            decoded=round(each * decoded),
            written=round(each * (decoded + moved)),
        )

    def savings(self, seconds: float) -> list[str]:
        """What the cache came to in a run of so many seconds, where there was one."""
        return [self._savings.line(seconds)] if self._savings.read else []

    def notes(self) -> list[str]:
        """What the user should know of the cache and has not been told yet; ask after every epoch."""
        notes = [line for memo in self._memos.values() for line in memo.store.notes()]
        return list(dict.fromkeys(notes))

    def close(self) -> None:
        """Write what is not on the disk yet, and let the memory go."""
        self._forget(self._memos)
        self._memos = {}

    # --- at a transition ---

    def _cut(self) -> list[str]:
        """Behind all frozen blocks."""
        self.cut, boundary = None, self._boundary
        if boundary == 0:
            return []
        plain = FrozenPrefix(self.model, self._freezer.anatomy, boundary)
        prefix = self._prefix(boundary)
        try:
            with autocast(self.device, self.precision):
                found = plain.check(self._example)
                # by itself, as what is made of a clip must not depend on the others
                worst = difference(last_row(found), prefix.encode(self._example[-1:]))
            if worst > _TOO_FAR:
                raise CutError(f"behind {plain.block}, what is made of a clip depends on the others")
        except CutError as error:
            return [f"Frozen blocks run with all others, in every epoch: {error}"]
        self._layouts[boundary] = found.layout
        self.cut = Cut(prefix, prefix, self._packing(boundary))
        if self._config.exact or worst <= 10 * self._difference:
            return []
        self._difference = worst
        return [
            f"Frozen blocks run as an inference graph: behind {plain.block} it differs from the plain model "
            f"by {worst:.1g} of the largest value (--exact: not at all)"
        ]

    def _move(self, kept_at: int) -> list[str]:
        """Have the cache at another boundary, or nowhere (0)."""
        for memo in self._memos.values():
            memo.drop_lower()
        lines: list[str] = []
        lower = None
        if kept_at != self._kept_at:
            before, was = self._kept_at, self._memos
            self._kept_at, self._memos = kept_at, {}
            rises = 0 < before < kept_at
            if kept_at:
                self._memos = {
                    split: Memo(self._open(split, kept_at), dataset.rows, was[split].store if rises else None)
                    for split, dataset in self._datasets.items()
                    if self.choice.keeps(split)
                }
                lines += self._loss_of_format(kept_at)
            if rises:
                lower = (self._prefix(before), self._packing(before))
            else:
                self._forget(was)
        if self.cut is not None:
            below = self._prefix(kept_at) if 0 < kept_at < self._boundary else self.cut.prefix
            self.cut = Cut(self.cut.prefix, below, self._packing(below.boundary), lower)
        return lines

    def _prefix(self, boundary: int) -> FrozenPrefix:
        return FrozenPrefix(self.model, self._freezer.anatomy, boundary, runner=self._copy())

    def _copy(self) -> nn.Module | None:
        """The inference graph of all blocks that are frozen now; None where the model itself is wanted."""
        if self._config.exact:
            return None
        if self._runner is None or self._runner[1] < self._boundary:
            copy = inference_copy(
                self.model, self._freezer.anatomy, self._boundary, compiled=self._config.compile
            )
            self._runner = (copy, self._boundary)
        return self._runner[0]

    def _packing(self, boundary: int) -> Packing:
        if boundary not in self._layouts:
            plain = FrozenPrefix(self.model, self._freezer.anatomy, boundary)
            with autocast(self.device, self.precision):
                self._layouts[boundary] = plain.encode(self._example).layout
        return Packing(self._layouts[boundary], _SMALLER[self._config.cache_dtype])

    def _open(self, split: str, boundary: int) -> ActivationStore:
        dataset, packing, tier = self._datasets[split], self._packing(boundary), self.choice.tier
        assert tier is not None, "who keeps has a place"
        graph = "plain" if self._config.exact else f"inference graph, compiled {self._config.compile}"
        key = cache_key(
            [
                dataset.fingerprint(),
                blocks_digest(self.model, self._freezer.anatomy, boundary),
                graph,
                self.precision,
                packing.dtypes,
                packing.shapes,
                self.device.type,
                torch.__version__,
            ]
        )
        rows = [dataset.rows(index) for index in range(len(dataset))]
        spec, limit = Spec(packing.shapes, packing.dtypes), tier.limit
        if tier.folder is None:  # there, one limit holds for all stores of a folder; here, each has its own
            of_all = sum(d.rows(index) for d in self._datasets.values() for index in range(len(d)))
            limit = limit * sum(rows) // of_all
        return ActivationStore(rows, spec, memory=tier.memory, folder=tier.folder, limit=limit, key=key)

    def _loss_of_format(self, boundary: int) -> list[str]:
        """What a smaller number format costs, where one was asked for."""
        packing = self._packing(boundary)
        if packing.dtype is None:
            return []
        with autocast(self.device, self.precision):
            made = self._prefix(boundary).encode(self._example)
        leaves = packing.unpack(packing.pack(made.leaves))
        error = max(
            float((a.float() - b.float()).abs().max() / a.float().abs().max().clamp(min=1e-30))
            for a, b in zip(made.leaves, leaves, strict=True)
            if a.is_floating_point()
        )
        return [
            f"Prefix cache: kept in {self._config.cache_dtype}, which loses {error:.1g} of the largest value"
        ]

    @staticmethod
    def _forget(memos: Mapping[str, Memo]) -> None:
        for memo in memos.values():
            memo.close()
