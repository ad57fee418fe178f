"""What a cache has saved, added up from what really happened."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unfreeze.prefix.costs import Costs
from unfreeze.prefix.messages import part_of
from unfreeze.wording import in_seconds


@dataclass(frozen=True)
class Savings:
    """Rows of a run so far and what they took or spared.

    Attributes:
        read: rows that came from the cache, also those that were moved to another boundary.
        decoded: rows that did not.
        spared: seconds of decoding and of frozen blocks that rows from the cache did without, less those of
            reading them.
        spent: seconds that would not have passed without a cache: writing, proving, measuring.
    """

    read: int = 0
    decoded: int = 0
    spared: float = 0.0
    spent: float = 0.0

    def add(
        self, costs: Costs, boundary: int, *, read: int = 0, decoded: int = 0, written: int = 0
    ) -> Savings:
        """With so many rows more. Rows that move from one boundary to another are read at the one and written
        at the other, in two calls.

        Args:
            costs: as measured at the time.
            boundary: of the cache that was read (``read``) and written (``written``).
            read: rows that came from it.
            decoded: rows that were decoded and encoded while there was a cache.
            written: rows that were put there.
        """
        return replace(
            self,
            read=self.read + read,
            decoded=self.decoded + decoded,
            spared=self.spared + (read * (costs.encode(boundary) - costs.fetch(boundary)) if read else 0.0),
            spent=self.spent + written * costs.keep(boundary),
        )

    def spend(self, seconds: float) -> Savings:
        """With seconds that went into having a cache, not into training."""
        return replace(self, spent=self.spent + seconds)

    @property
    def saved(self) -> float:
        """Seconds; below 0 where the cache took more than it gave."""
        return self.spared - self.spent

    def line(self, seconds: float) -> str:
        """What to say at the end of a run.

        Args:
            seconds: that all its epochs took, with the cache.
        """
        came = f"{self.read:,} of {self.read + self.decoded:,} clips came from it"
        if self.saved < 0:
            return f"Prefix cache: cost {in_seconds(-self.saved)} more than it saved: {came}"
        return f"Prefix cache: saved about {part_of(self.saved, seconds + self.saved)}: {came}"
