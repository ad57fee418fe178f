"""How often values are about how large, as numbers and as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_WIDE = 20  # ratio of the largest to the smallest value from which on bins grow with the values
_BLOCKS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Histogram:
    """``counts[i]`` values lie from ``edges[i]`` to ``edges[i + 1]``."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: Sequence[float], bins: int = 8) -> Histogram:
        """In equal bins, or, where values differ by orders of magnitude, in bins of an equal ratio."""
        if not values:
            return cls((), ())
        low, high = min(values), max(values)
        if low == high:
            return cls((low, high), (len(values),))
        edges = np.geomspace(low, high, bins + 1) if low > 0 and high / low > _WIDE else None
        counts, found = np.histogram(values, bins=bins if edges is None else edges)
        # rounding may leave the ends outside of what geomspace gives
        counts = counts.astype(int)
        counts[0] += sum(value < found[0] for value in values)
        counts[-1] += sum(value > found[-1] for value in values)
        return cls(tuple(map(float, found)), tuple(map(int, counts)))

    def lines(self, shown: Callable[[float], str], width: int = 30) -> list[str]:
        """A bar per bin: ``1.0 - 2.0 ████ 12``."""
        if not self.counts:
            return []
        names = [
            shown(low) if low == high else f"{shown(low)} - {shown(high)}"
            for low, high in zip(self.edges, self.edges[1:], strict=False)
        ]
        room, most = max(map(len, names)), max(self.counts)
        return [
            " ".join(part for part in (f"{name:>{room}}", _bar(count / most, width), str(count)) if part)
            for name, count in zip(names, self.counts, strict=True)
        ]


def _bar(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    return ("█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()) if eighths else ""
