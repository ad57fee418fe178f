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
from unfreeze.prefix.key import block_digests
from unfreeze.prefix.packing import Packing
from unfreeze.prefix.savings import Savings
from unfreeze.training.config import TrainConfig
from unfreeze.training.precision import autocast
from unfreeze.training.prefix.caches import Caches, identity
from unfreeze.training.prefix.choice import Choice
from unfreeze.training.prefix.cut import Cut
from unfreeze.training.prefix.memo import Memo

_TOO_FAR = 0.05  # of the largest value: beyond rounding, also that of bfloat16
_SMALLER = {"produced": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class PrefixEngine:
    """What runs of the model in an epoch, and what is kept of it for the next ones.

    Attributes:
        model: what batches go through, the model or a wrapper around it.
        cut: the model of the present epoch; None where nothing is frozen, or it cannot be cut.
        choice: whether, where and at which boundaries activations are kept.
        clip_shape: (C, T, H, W) of a clip.
        rows_at_once: about how many clips go through the frozen blocks together.
        decodes_elsewhere: clips are made by processes of their own.

    Args:
        datasets: by split, ``train`` and ``val``, as the loaders show them.
        example: (N, C, T, H, W): two clips or more, on which every cut is tried.
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
        self.choice = choice
        self.clip_shape = tuple(example.shape[1:])
        self.rows_at_once = config.batch_size
        self.decodes_elsewhere = config.workers > 0
        self._config = config
        self._freezer = freezer
        self._example = example.to(device)
        self._boundary = 0
        self._runner: tuple[nn.Module, int] | None = None  # a copy, and how many blocks of it are the model's
        self._layouts: dict[int, Layout] = {}
        self._caches: Caches | None = None
        if choice.tier is not None:
            self._caches = Caches(datasets, choice.splits, choice.tier, identity(config, device))
        self._tried: tuple[Activations, Activations] | None = (
            None  # of the example, and of its last clip alone
        )
        self._difference = 0.0  # of the inference graph, as it was said
        self._savings = Savings(spent=spent)

    # --- asked in every epoch ---

    def start_epoch(self, transition: Transition) -> list[str]:
        """Cut the model behind what is frozen now; what the user should know of it."""
        started = time.perf_counter()
        trainable = set(transition.decision.trainable)
        frozen = takewhile(lambda part: part.name not in trainable, self._freezer.anatomy.blocks)
        before, self._boundary = self._boundary, sum(1 for _ in frozen)
        if self._caches is not None:
            self._caches.drop_lower()
        lines: list[str] = []
        if self._boundary != before:
            if self._tried is not None and self._boundary < self._tried[0].layout.boundary:
                self._tried = None  # blocks before it train from now on
            if self._runner is not None:
                # a block behind it is not what was copied from now on, even when it freezes again
                self._runner = (self._runner[0], min(self._runner[1], self._boundary))
            lines = self._transition()
        elif self.cut is not None and self.cut.lower is not None:
            self.cut = replace(self.cut, lower=None)
        self._savings = self._savings.spend(time.perf_counter() - started)
        return lines

    @property
    def refresh(self) -> float:
        """The share of the training clips that are drawn anew in the present epoch."""
        return self._config.cache_refresh if self.cut is not None and self.choice.training else 1.0

    def memo(self, split: str) -> Memo | None:
        """What is kept of a split in the present epoch; None where nothing is."""
        return None if self._caches is None else self._caches.get(split)

    def is_kept(self, split: str, index: int, version: int) -> bool:
        """Whether a clip need not be decoded."""
        memo = self.memo(split)
        return memo is not None and memo.has(index, version)

    def count(self, memo: Memo, batch: Batch, *, decoded: int, moved: int) -> None:
        """Take note of a batch.

        Args:
            decoded: clips that were; the others were read.
            moved: clips that were read at a lower boundary.
        """
        assert self.choice.planner is not None, "who keeps has a plan"
        assert self._caches is not None, "who keeps has caches"
        rows = [memo.rows(int(index)) for index in batch["index"]]
        each = sum(rows) / len(rows)  # of a sample, about
        costs = self.choice.planner.costs
        self._savings = self._savings.add(
            costs,
            self._caches.at,
            read=round(each * (len(rows) - decoded - moved)),
            decoded=round(each * decoded),
            written=round(each * (decoded + moved)),
        )
        if moved:
            assert self.cut is not None, "there is something frozen"
            assert self.cut.lower is not None, "they were read somewhere"
            at = self.cut.lower[0].boundary
            self._savings = self._savings.add(costs, at, read=round(each * moved))

    def savings(self, seconds: float) -> list[str]:
        """What the cache came to in a run of so many seconds, where there was one."""
        return [self._savings.line(seconds)] if self._savings.read else []

    def notes(self) -> list[str]:
        """What the user should know of the cache and has not been told yet; ask after every epoch."""
        return [] if self._caches is None else self._caches.notes()

    def close(self) -> None:
        """Write what is not on the disk yet, and let the memory go."""
        if self._caches is not None:
            self._caches.forget()

    # --- at a transition ---

    def _transition(self) -> list[str]:
        """Cut the model behind all frozen blocks, and have the cache where the next epochs want it."""
        self.cut = None
        if self._boundary == 0:
            self.close()
            return []
        at, source = self._wanted()
        try:
            try:
                worst = self._try(at, source)
            except CutError:
                if at in (0, self._boundary):
                    raise
                # a cut in the middle of the prefix is not possible, then
                at, source = self._boundary, 0
                worst = self._try(at, source)
        except CutError as error:
            self.close()
            return [f"Frozen blocks run with all others, in every epoch: {error}"]
        self._move(at, source)
        return [*self._about_the_graph(worst), *self._about_the_format()]

    def _wanted(self) -> tuple[int, int]:
        """The boundary of the cache, and the lower one that it is filled from; 0 for none."""
        if self._caches is None:
            return 0, 0
        filled = self._caches.at or self._caches.on_disk(self._digests())
        return self.choice.boundary(self._freezer.history, self._boundary, filled=filled)

    def _try(self, at: int, source: int) -> float:
        """See that the model can be cut at the boundary, and the cache lie ``at`` and be filled from
        ``source`` (0 for none): on the example, against the whole model, bit for bit. And how far the last
        clip of it is from that where it runs by itself, through the copy: relative to the largest value.

        The whole model runs for the lowest of these places alone. It stays true as long as the blocks before
        it are frozen, so that later transitions cost little.

        Raises:
            CutError: it cannot; or a clip by itself gives something else.
        """
        base = source or at or self._boundary
        with autocast(self.device, self.precision):
            if self._tried is None or self._tried[0].layout.boundary != base:
                whole = self._plain(base).check(self._example)
                self._tried = (whole, self._prefix(base).encode(self._example[-1:]))
            found, lone = self._tried
            self._layouts[base] = found.layout
            for boundary in (at, self._boundary):
                if boundary > found.layout.boundary:
                    found = self._plain(boundary).check_from(found)
                    lone = self._prefix(boundary).advance(lone)
                    self._layouts[boundary] = found.layout
        worst = difference(last_row(found), lone)
        if worst > _TOO_FAR:
            raise CutError(
                f"behind {self._plain(self._boundary).block}, a clip by itself gives something else than "
                f"among others (by {worst:.1g} of the largest value)"
            )
        return worst

    def _move(self, at: int, source: int) -> None:
        prefix = self._prefix(self._boundary)
        below = self._prefix(at) if 0 < at < self._boundary else prefix
        lower = None
        if self._caches is not None and at != self._caches.at:
            digests = self._digests()
            if 0 < source < at:
                lower = (self._prefix(source), self._packing(source))
                if self._caches.at != source:  # it is on the disk, from an earlier run
                    self._caches.move(source, self._packing(source), digests[source])
            if at:
                packing = self._packing(at)
                self._caches.move(at, packing, digests[at], from_lower=lower is not None)
            else:
                self._caches.forget()
        self.cut = Cut(prefix, below, self._packing(below.boundary), lower)

    def _digests(self) -> tuple[str, ...]:
        return block_digests(self.model, self._freezer.anatomy, self._boundary)

    def _plain(self, boundary: int) -> FrozenPrefix:
        return FrozenPrefix(self.model, self._freezer.anatomy, boundary)

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
        return Packing(self._layouts[boundary], _SMALLER[self._config.cache_dtype])

    def _about_the_graph(self, worst: float) -> list[str]:
        """How exact it is, once, and again where it is much worse."""
        if self._config.exact or worst <= 10 * self._difference:
            return []
        self._difference = worst
        return [
            f"Frozen blocks run in a faster form: behind {self._plain(self._boundary).block}, it differs by "
            f"{worst:.1g} of the largest value; --exact avoids that"
        ]

    def _about_the_format(self) -> list[str]:
        """What a smaller number format costs, where one was asked for.

        Raises:
            ValueError: a value does not fit into it.
        """
        packing = self._packing(self._boundary)
        if packing.dtype is None:
            return []
        with autocast(self.device, self.precision):
            made = self._prefix(self._boundary).encode(self._example)
        name, back = self._config.cache_dtype, packing.unpack(packing.pack(made.leaves))
        if not all(bool(leaf.isfinite().all()) for leaf in back):
            raise ValueError(f"--cache_dtype {name}: activations are too large for it; use bf16 or produced")
        error = difference(made, replace(made, leaves=back))
        return [f"Prefix cache: kept in {name}, which loses {error:.1g} of the largest value"]


def last_row(activations: Activations) -> Activations:
    """What crosses the boundary of the last clip of a batch."""
    leaves = tuple(leaf[-1:] for leaf in activations.leaves)
    return replace(activations, leaves=leaves, items=1)
