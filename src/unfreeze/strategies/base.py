"""What a strategy is: a pure rule from the history of a run to the blocks that train in the next epoch.

A strategy is a frozen dataclass in a file of its own beside this one; defining the class registers it. Its
fields are its command-line flags: declared with ``unfreeze.options.option``, flag, help and bounds follow.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar

from unfreeze.history import History
from unfreeze.options import check_options


@dataclass(frozen=True)
class BlockInfo:
    """A backbone block as a strategy sees it: its name and its number of parameters (elements)."""

    name: str
    parameters: int


@dataclass(frozen=True)
class Decision:
    """A strategy's answer for one epoch.

    ``trainable`` names blocks from input to output; heads always train and are not listed. ``lr_scales``
    multiplies the learning rate of a block (1 where absent). ``target`` is the number of backbone parameters
    that the strategy is on its way to, for the progress line. ``reason`` says why in one line, ``warnings``
    what the user must know. ``measured`` means that it follows from measurements, not from the clock
    alone, so that the log gives the reason in every epoch.
    """

    epoch: int
    trainable: tuple[str, ...]
    reason: str
    lr_scales: Mapping[str, float] = field(default_factory=dict)
    target: int | None = None
    warnings: tuple[str, ...] = ()
    measured: bool = False


@dataclass(frozen=True)
class Strategy(ABC):
    """Base of all strategies.

    Class attributes:
        name: what ``--freezing_strategy`` calls it.
        flag_prefix: put before field names to make flags; None means ``<name>_``.
    """

    name: ClassVar[str]
    flag_prefix: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            this, other = (f"{c.__module__}.{c.__name__}" for c in (cls, REGISTRY.get(cls.name, cls)))
            # dataclass(slots=True) and a reload define a class twice, and the later one is the real one;
            # two different rules of one name are a mistake
            if this != other:
                raise TypeError(f"two strategies are called {cls.name!r}: {other}, {this}")
            REGISTRY[cls.name] = cls

    def __post_init__(self) -> None:
        check_options(self)

    @abstractmethod
    def decide(self, history: History, blocks: Sequence[BlockInfo]) -> Decision:
        """The blocks that train in epoch ``history.next_epoch``; ``blocks`` come from input to output."""

    def run_length(self) -> int | None:
        """The number of epochs that the rule itself asks for, or None where any length will do."""
        return None

    @classmethod
    def flag(cls, field_name: str) -> str:
        """The command-line flag of a field, without dashes: ``early_gradual_target_ratio``."""
        prefix = f"{cls.name}_" if cls.flag_prefix is None else cls.flag_prefix
        return f"{prefix}{field_name}"


REGISTRY: dict[str, type[Strategy]] = {}


def last_blocks(blocks: Sequence[BlockInfo], count: int) -> tuple[str, ...]:
    """The last ``count`` blocks that own parameters, from input to output, and parameterless ones among them.

    A block without parameters (an Identity, a pooling) has nothing to train, so it never counts as a step; it
    goes with the nearest block before it that has some, or, at the very input, with the first one after it.
    """
    owners = [index for index, block in enumerate(blocks) if block.parameters]
    if count <= 0 or not owners:
        return ()
    start = owners[-count] if count < len(owners) else 0
    return tuple(block.name for block in blocks[start:])


def blocks_to_reach(blocks: Sequence[BlockInfo], target: int) -> int:
    """How many of the last parameter-owning blocks it takes to hold at least ``target`` parameters."""
    count = held = 0
    for block in reversed(blocks):
        if held >= target:
            break
        held += block.parameters
        count += bool(block.parameters)
    return count


def target_parameters(blocks: Sequence[BlockInfo], ratio: float) -> int:
    """The smallest number of parameters that is at least ``ratio`` of all of them.

    The ratio counts as the decimal that was written: 0.07 of 100 is 7, not the 7.000000000000001 of float
    arithmetic, which would cost a block more.
    """
    return math.ceil(Fraction(repr(float(ratio))) * total_parameters(blocks))


def total_parameters(blocks: Sequence[BlockInfo]) -> int:
    """The number of parameters (elements) of all blocks together."""
    return sum(block.parameters for block in blocks)


def percent(ratio: float) -> str:
    """``0.5`` as ``50%``, ``0.125`` as ``12.5%``."""
    return f"{100 * ratio:g}%"
