"""From a batch to its logits, where the first blocks are frozen: their output is kept, or made once more.

What the frozen blocks make of a clip depends on nothing but the clip. So it is the same whether it was read
or made anew, among which other clips, and at which boundary it was kept; only the time it takes differs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from unfreeze.data.batch import Batch
from unfreeze.prefix import placeholder
from unfreeze.prefix.packing import Leaves
from unfreeze.prefix.reader import prefetch
from unfreeze.training.forward import Forward, Ready, Watch
from unfreeze.training.mixing import Mix
from unfreeze.training.precision import autocast
from unfreeze.training.prefix.memo import Found, Memo

if TYPE_CHECKING:
    from unfreeze.training.prefix.engine import PrefixEngine

_AHEAD = 8  # batches whose new clips may be encoded together; each brings few of them


class _Waiting(NamedTuple):
    """A batch, and what is kept of its clips."""

    batch: Batch
    found: Found

    @property
    def new(self) -> int:
        """Rows that have been decoded."""
        return len(self.batch["video"]) if "video" in self.batch else 0


class Encoded(Batch):
    """A batch of which the frozen blocks are done: what is kept of all of its rows."""

    activations: Leaves


class PrefixForward(Forward):
    """Runs the model from the boundary on; what comes before is the engine's affair.

    Args:
        engine: knows the present boundary, and what is kept.
        split: whose clips these are: ``train`` or ``val``.
    """

    def __init__(self, engine: PrefixEngine, split: str) -> None:
        super().__init__(engine.model, engine.device, engine.precision)
        self.engine = engine
        self.split = split

    def over(self, batches: Iterable[Batch], watch: Watch = iter) -> Ready:
        memo = self.engine.memo(self.split)
        return super().over(batches, watch) if memo is None else self._encoded(batches, watch, memo)

    def __call__(self, batch: Batch, mix: Mix | None = None) -> dict[str, Tensor]:
        cut = self.engine.cut
        if cut is None:
            return super().__call__(batch, mix)
        mask = batch["view_mask"]
        # clips that are kept cannot be mixed before the frozen blocks, so none is in such a run
        mix_behind = mix is not None and self.engine.choice.training
        with autocast(self.device, self.precision):
            if "activations" in batch:
                video = placeholder((*mask.shape, *self.engine.clip_shape), device=self.device)
                inputs = (video,) if bool(mask.all()) else (video, mask.to(self.device))
                packed = cast(Encoded, batch)["activations"]
                crossing = cut.prefix.advance(cut.from_cache(packed, *inputs))
            else:
                crossing = cut.rounded(cut.prefix.encode(*self._inputs(batch, None if mix_behind else mix)))
            if mix is not None and mix_behind:
                leaves = tuple(mix.rows(leaf, mask) for leaf in crossing.leaves)
                crossing = dataclasses.replace(crossing, leaves=leaves)
            logits: dict[str, Tensor] = cut.prefix.decode(crossing)
        return logits

    def _encoded(self, batches: Iterable[Batch], watch: Watch, memo: Memo) -> Ready:
        """The batches with ``activations``: of all their rows, as they are stored."""
        waiting: list[_Waiting] = []
        enough = self.engine.rows_at_once
        # a loader without workers decodes where it is asked, and clips are drawn from the same generator as
        # dropout: in a thread, both would depend on who comes first
        depth = 2 if self.engine.decodes_elsewhere else 0
        with closing(prefetch(batches, lambda batch: _Waiting(batch, memo.read(batch)), depth)) as source:
            for item in watch(source):
                waiting.append(item)
                rows = sum(other.new for other in waiting)
                if rows == 0 or rows >= enough or len(waiting) == _AHEAD:
                    yield from self._finished(waiting, memo)
                    waiting = []
            yield from self._finished(waiting, memo)

    def _finished(self, waiting: list[_Waiting], memo: Memo) -> Iterator[Batch]:
        """What is missing is made; new clips of all these batches go through the frozen blocks together."""
        videos = [item.batch["video"] for item in waiting if item.new]
        encoded, start = self._encode(torch.cat(videos)) if videos else (), 0
        for item in waiting:
            parts = [] if item.found.here is None else [item.found.here]
            made: list[tuple[Sequence[int], Leaves]] = []
            if item.found.lower is not None:
                places, leaves = item.found.lower
                made.append((places, self._advance(leaves)))
            if item.new:
                own = tuple(leaf[start : start + item.new] for leaf in encoded)
                start += item.new
                made.append((item.batch["fresh"].tolist(), own))
            for places, leaves in made:
                memo.keep(item.batch, places, leaves)
            lower = [] if item.found.lower is None else item.found.lower[0]
            self.engine.count(memo, item.batch, decoded=len(item.batch["fresh"]), moved=len(lower))
            item.batch.pop("video", None)
            yield Encoded(**item.batch, activations=memo.together(item.batch, [*parts, *made]))

    def _encode(self, rows: Tensor) -> Leaves:
        """(N, C, T, H, W) -> what crosses the boundary of the cache, as it is stored."""
        cut = self.engine.cut
        assert cut is not None
        pieces = -(-len(rows) // (2 * self.engine.rows_at_once))  # not much larger than a step is
        with autocast(self.device, self.precision):
            parts = [
                cut.packing.pack(cut.below.encode(piece.to(self.device, non_blocking=True)).leaves)
                for piece in rows.tensor_split(pieces)
            ]
        return parts[0] if len(parts) == 1 else tuple(torch.cat(of) for of in zip(*parts, strict=True))

    def _advance(self, lower: Leaves) -> Leaves:
        """From the lower boundary to that of the cache."""
        cut = self.engine.cut
        assert cut is not None
        with autocast(self.device, self.precision):
            clips = placeholder((len(lower[0]), *self.engine.clip_shape), device=self.device)
            return cut.packing.pack(cut.below.advance(cut.from_lower(lower, clips)).leaves)
