"""What the parts of a training step cost, as plain numbers: measured elsewhere, added up here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate


@dataclass(frozen=True)
class Profile:
    """What a model's blocks cost for one row (one clip), forward.

    Attributes:
        seconds: of each block, from input to output, and at the end of what follows the last block.
        flops: of each block (2 per multiply-add).
        nbytes: of the activation at each boundary: behind the first block at 1, behind the last at
            ``blocks``. Nothing is kept at 0.

    Raises:
        ValueError: lengths that do not belong together.
    """

    seconds: tuple[float, ...]
    flops: tuple[int, ...]
    nbytes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.seconds) == len(self.flops) + 1 == len(self.nbytes):
            raise ValueError(
                f"a profile of {len(self.flops)} blocks has one number more in seconds and in nbytes, "
                f"not {len(self.seconds)} and {len(self.nbytes)}"
            )

    @property
    def blocks(self) -> int:
        """How many there are."""
        return len(self.flops)

    @cached_property
    def _until(self) -> tuple[float, ...]:
        return tuple(accumulate(self.seconds, initial=0.0))

    def forward(self, start: int, end: int) -> float:
        """Seconds in which one row runs through the blocks ``start`` … ``end - 1``."""
        return self._until[end] - self._until[start]

    def behind(self, boundary: int) -> float:
        """Seconds in which one row runs forward through all that lies behind the boundary, heads included."""
        return self._until[-1] - self._until[boundary]


@dataclass(frozen=True)
class Costs:
    """What a row costs on this machine.

    Attributes:
        decode: seconds that loading a row takes off the run, after what workers do meanwhile.
        profile: of the model.
        read: seconds per byte to have a cached activation back.
        write: seconds per byte to keep one.
        suffix: boundary -> seconds per epoch behind it, forward and backward, training and validation (as
            ``suffix_seconds`` estimates them). The same with a cache and without: they count in totals, never
            in a choice. Empty: nothing.
    """

    decode: float
    profile: Profile
    read: float = 0.0
    write: float = 0.0
    suffix: Callable[[int], float] | Mapping[int, float] | Sequence[float] = ()

    def encode(self, boundary: int) -> float:
        """Seconds in which a row is decoded and run up to the boundary."""
        return self.decode + self.profile.forward(0, boundary)

    def fetch(self, boundary: int) -> float:
        """Seconds in which a row's activation is read."""
        return self.read * self.profile.nbytes[boundary]

    def keep(self, boundary: int) -> float:
        """Seconds in which a row's activation is written."""
        return self.write * self.profile.nbytes[boundary]

    def behind(self, boundary: int) -> float:
        """Seconds per epoch behind the boundary."""
        if callable(self.suffix):
            return self.suffix(boundary)
        return self.suffix[boundary] if self.suffix else 0.0


def suffix_seconds(profile: Profile, train_rows: int, val_rows: int) -> tuple[float, ...]:
    """Seconds per epoch behind each boundary 0 … ``blocks``: for ``Costs.suffix``.

    A backward pass counts as two forward passes of the same layers, one for the gradients of the weights and
    one for those of the inputs: a rule of thumb, and good enough for a total.
    """
    return tuple((3 * train_rows + val_rows) * profile.behind(b) for b in range(profile.blocks + 1))
