"""Behind which block to keep activations, epoch by epoch: the cheapest of all ways, before any is tried.

Nothing here is measured and nothing is done: rows, boundaries and costs go in, a plan comes out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import NamedTuple

from unfreeze.prefix.costs import Costs

# Time is counted in whole nanoseconds here: sums of floats depend on their order, and two ways that cost the
# same would differ by a rounding.
_TICKS = 10**9


@dataclass(frozen=True)
class Stretch:
    """Epochs in a row with one cache.

    Attributes:
        first: position of the first of them among the planned epochs, from 0.
        epochs: how many.
        boundary: the cache is behind so many blocks; 0 is no cache.
        source: what the cache is filled from in its first epoch: the cache of the stretch before, at this
            lower boundary, or 0: decoded clips. Equal to ``boundary`` where it is filled already.
    """

    first: int
    epochs: int
    boundary: int
    source: int


@dataclass(frozen=True)
class Plan:
    """What to keep in which epoch, and what comes of it.

    Attributes:
        boundaries: number of leading frozen blocks in each epoch, as given.
        cached: the boundary of the cache in each epoch, at most that of the epoch; 0 is no cache.
        sources: what the cache of each epoch is made from, as in ``Stretch``.
        training: whether training rows are kept. Validation rows are wherever there is a cache.
        seconds: of all these epochs with the cache, about.
        naive: of all these epochs without it, the frozen part running as often as the suffix does.
        bytes: the most that is kept at any time, one version of each row.
        wanted: what ``bytes`` would be without a limit.
        limit: in bytes, as given.
        refresh: share of training rows that are drawn anew in each epoch, as given.
        filled: boundary of the cache that was there before, as given.
    """

    boundaries: tuple[int, ...]
    cached: tuple[int, ...]
    sources: tuple[int, ...]
    training: bool
    seconds: float
    naive: float
    bytes: int
    wanted: int
    limit: int | None = None
    refresh: float = 0.0
    filled: int = 0

    @property
    def saved(self) -> float:
        """Seconds; never less than none."""
        return self.naive - self.seconds

    @property
    def share(self) -> float:
        """The part of ``naive`` that is saved, 0 to 1."""
        return self.saved / self.naive if self.naive else 0.0

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """The same as ``cached``, change by change."""
        found, first = [], 0
        for boundary, run in groupby(self.cached):
            epochs = len(list(run))
            found.append(Stretch(first, epochs, boundary, self.sources[first]))
            first += epochs
        return tuple(found)


def plan(
    boundaries: Sequence[int],
    *,
    train_rows: int,
    val_rows: int,
    refresh: float,
    costs: Costs,
    filled: int = 0,
    allowed: Collection[int] | None = None,
    limit: int | None = None,
    started: bool = False,
) -> Plan:
    """The way to keep activations that takes the fewest seconds over all epochs.

    What an epoch with the boundary b takes, F(i, j) being a row's forward seconds from block i up to j:

    - without a cache every row is decoded and runs through F(0, b);
    - with a cache at c <= b every row runs through F(c, b). Before that a validation row is read, and a
      training row too, unless its view is drawn anew: then it is decoded, run through F(0, c) and written. In
      the first epoch of a run all views are new, later a share ``refresh`` of them;
    - in the first epoch of a cache, rows that would be read are encoded and written in place of it: from the
      old cache if that lies at a lower boundary (read, F(c0, c)), else from the clip (decoded, F(0, c)).

    Training rows are kept in the whole plan or not at all (with a large ``refresh`` it can pay to keep
    validation rows only). Of ways that take equally long, the one without training rows, then with the fewest
    caches to fill, then with the higher boundary in the earlier epoch.

    Args:
        boundaries: number of leading frozen blocks in each epoch to come, 0 … blocks.
        filled: boundary at which all rows are in a cache now, from an earlier run or an earlier epoch; 0 is
            none.
        allowed: boundaries at which the model can be cut; None is all.
        limit: bytes that may be kept, at any time.
        started: epochs of the run have gone by already, so that in the first of these too only a share
            ``refresh`` is new.

    Raises:
        ValueError: a boundary that the profile does not have, or a share outside 0 … 1.
    """
    blocks = costs.profile.blocks
    if outside := [b for b in (*boundaries, filled) if not 0 <= b <= blocks]:
        raise ValueError(f"a boundary is from 0 to {blocks}, the number of blocks, not {outside[0]}")
    if not 0 <= refresh <= 1:
        raise ValueError(f"refresh is a share from 0 to 1, not {refresh}")

    def within(bound: int | None) -> tuple[_Rows, _Way]:
        either = [_Rows(train_rows, val_rows, kept, refresh, costs, bound) for kept in (False, True)]
        ways = [(rows, _cheapest(boundaries, rows, filled, allowed, started)) for rows in either]
        return min(ways, key=lambda pair: pair[1].ticks)  # of two that are equal the first

    rows, best = within(limit)
    unbound = (rows, best) if limit is None else within(None)
    naive = sum((train_rows + val_rows) * costs.encode(b) + costs.behind(b) for b in boundaries)
    return Plan(
        boundaries=tuple(boundaries),
        cached=best.path,
        training=rows.training and any(best.path),
        seconds=naive + best.ticks / _TICKS,
        naive=naive,
        bytes=rows.peak(best.path, filled),
        wanted=unbound[0].peak(unbound[1].path, filled),
        limit=limit,
        refresh=refresh,
        filled=filled,
        sources=tuple(rows.source(old, new) for old, new in _steps(best.path, filled)),
    )


class _Way(NamedTuple):
    """What to keep in the epochs so far. The smaller way is the better one."""

    ticks: int  # beyond what these epochs take without a cache: below 0 is good
    fills: int  # caches that are begun
    depths: tuple[int, ...]  # boundaries by epoch, negated

    @property
    def path(self) -> tuple[int, ...]:
        return tuple(-depth for depth in self.depths)


def _cheapest(
    boundaries: Sequence[int], rows: _Rows, filled: int, allowed: Collection[int] | None, started: bool
) -> _Way:
    """Dynamic programming: for each boundary that the cache may have in an epoch, the best way to get there.

    It stays exact through ties, as a way that is smaller than another is so after any same continuation.
    """
    places = [c for c in range(1, max(boundaries, default=0) + 1) if allowed is None or c in allowed]
    places = [0, *(c for c in places if rows.fits(c))] if rows.kept else [0]
    more = cache(rows.more)
    ways = {filled: _Way(0, 0, ())}
    for epoch, boundary in enumerate(boundaries):
        first = epoch == 0 and not started
        found = {}
        for new in places:
            if new <= boundary:
                ticks, fills, depths = min(
                    (way.ticks + more(old, new, first), way.fills + (old != new > 0), way.depths)
                    for old, way in ways.items()
                )
                found[new] = _Way(ticks, fills, (*depths, -new))
        ways = found
    return min(ways.values())


@dataclass(frozen=True)
class _Rows:
    """The rows of a run, and what an epoch takes more or less if they are kept."""

    train: int
    val: int
    training: bool  # are training rows kept?
    refresh: float
    costs: Costs
    limit: int | None

    @property
    def kept(self) -> int:
        return self.val + (self.train if self.training else 0)

    def bytes(self, boundary: int) -> int:
        return self.kept * self.costs.profile.nbytes[boundary]

    def fits(self, *boundaries: int) -> bool:
        return self.limit is None or sum(map(self.bytes, boundaries)) <= self.limit

    def source(self, old: int, new: int) -> int:
        """What the new cache is made from; while it is made from the old one, both are there."""
        if old == new:
            return new
        return old if 0 < old < new and self.fits(old, new) else 0

    def peak(self, path: Sequence[int], filled: int) -> int:
        return max((self._held(old, new) for old, new in _steps(path, filled)), default=0)

    def _held(self, old: int, new: int) -> int:
        source = self.source(old, new)
        return self.bytes(new) + (self.bytes(source) if source != new else 0)

    def more(self, old: int, new: int, first: bool) -> int:
        """Ticks that an epoch takes with a cache at ``new``, less those without; before it was at ``old``.

        The boundary of the epoch does not matter: F(c, b) - F(0, b) is -F(0, c) whatever b is.
        """
        if new == 0:
            return 0
        costs, source = self.costs, self.source(old, new)
        # a row that need not be decoded spares that and the blocks up to what it is made from
        spared = costs.fetch(source) - costs.encode(source) if source else 0.0
        written = 0.0 if source == new else costs.keep(new)
        seconds = self.val * (spared + written)
        if self.training:
            # an earlier run has shown the same views in its first epoch
            fresh = (0.0 if source else 1.0) if first else self.refresh
            written = costs.keep(new) if source != new else fresh * costs.keep(new)
            seconds += self.train * ((1 - fresh) * spared + written)
        return round(seconds * _TICKS)


def _steps(path: Sequence[int], filled: int) -> Iterator[tuple[int, int]]:
    return zip((filled, *path), path, strict=False)
