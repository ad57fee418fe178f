"""The model of an epoch, cut behind its frozen blocks, and where in them the cache lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from unfreeze.prefix import Activations, FrozenPrefix
from unfreeze.prefix.packing import Packing


@dataclass(frozen=True)
class Cut:
    """What runs in an epoch.

    Attributes:
        prefix: all frozen blocks.
        below: those up to the boundary of the cache, which may be all of them.
        packing: of what crosses that boundary.
        lower: of what crosses the boundary of the cache that this one takes the place of; or None.
    """

    prefix: FrozenPrefix
    below: FrozenPrefix
    packing: Packing
    lower: tuple[FrozenPrefix, Packing] | None = None

    def from_cache(self, packed: Sequence[Tensor], *inputs: Tensor) -> Activations:
        """Rows as they are stored -> what crosses the boundary of the cache.

        Args:
            inputs: of the model, for what comes behind.
        """
        return self.below.activations(self.packing.layout, self.packing.unpack(packed), *inputs)

    def rounded(self, crossing: Activations) -> Activations:
        """What would be read, had it been kept: in a smaller number format, that is less exact."""
        if self.packing.dtype is None:
            return crossing
        return replace(crossing, leaves=self.packing.unpack(self.packing.pack(crossing.leaves)))

    def from_lower(self, packed: Sequence[Tensor], *inputs: Tensor) -> Activations:
        """The same of the lower cache."""
        assert self.lower is not None, "there is a lower cache"
        prefix, packing = self.lower
        return prefix.activations(packing.layout, packing.unpack(packed), *inputs)
