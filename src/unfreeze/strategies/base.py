"""What a strategy is: a pure rule from the history of a run to the blocks that train in the next epoch.

A strategy is a frozen dataclass in a file of its own beside this one; defining the class registers it. Its fields
are its command-line flags: declare them with ``option`` and the flag, its help and its bounds follow.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from unfreeze.history import History


@dataclass(frozen=True)
class BlockInfo:
    """A backbone block as a strategy sees it: its name and its number of parameters (elements)."""

    name: str
    parameters: int


@dataclass(frozen=True)
class Decision:
    """A strategy's answer for one epoch.

    ``trainable`` names blocks from input to output; heads always train and are not listed. ``lr_scales`` multiplies
    the learning rate of a block (1 where absent). ``target`` is the number of backbone parameters that the strategy
    is on its way to, for the progress line. ``reason`` says why in one line, ``warnings`` what the user must know.
    """

    epoch: int
    trainable: tuple[str, ...]
    reason: str
    lr_scales: Mapping[str, float] = field(default_factory=dict)
    target: int | None = None
    warnings: tuple[str, ...] = ()


def option(
    default: Any, help: str, *, ge: float | None = None, gt: float | None = None, le: float | None = None
) -> Any:
    """A dataclass field that is also a flag: default, help text and bounds in one place."""
    return field(default=default, metadata={"help": help, "ge": ge, "gt": gt, "le": le})


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
            other = REGISTRY.setdefault(cls.name, cls)
            # slots=True and decorators may define a class twice; two different rules of one name are a mistake
            if other.__qualname__ != cls.__qualname__:
                raise TypeError(f"two strategies are called {cls.name!r}: {other.__qualname__}, {cls.__qualname__}")

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            _check_bounds(f, getattr(self, f.name), flag=self.flag(f.name))

    @abstractmethod
    def decide(self, history: History, blocks: Sequence[BlockInfo]) -> Decision:
        """The blocks that train in epoch ``history.next_epoch``; ``blocks`` are ordered from input to output."""

    def run_length(self) -> int | None:
        """The number of epochs that the rule itself asks for, or None where any length will do."""
        return None

    @classmethod
    def flag(cls, field_name: str) -> str:
        """The command-line flag of a field, without dashes: ``early_gradual_target_ratio``."""
        prefix = f"{cls.name}_" if cls.flag_prefix is None else cls.flag_prefix
        return f"{prefix}{field_name}"


REGISTRY: dict[str, type[Strategy]] = {}


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint for an error message: ``; did you mean 'layer4.1'?`` or the empty string."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def last_blocks(blocks: Sequence[BlockInfo], count: int) -> tuple[str, ...]:
    """The last ``count`` blocks that own parameters, from input to output, with the parameterless ones among them.

    A block without parameters (an Identity, a pooling) has nothing to train, so it never counts as a step.
    """
    start = len(blocks)
    for index in range(len(blocks) - 1, -1, -1):
        if count <= 0:
            break
        if blocks[index].parameters:
            count -= 1
            start = index
    return tuple(block.name for block in blocks[start:])


def blocks_to_reach(blocks: Sequence[BlockInfo], target: float) -> int:
    """How many of the last parameter-owning blocks it takes to hold at least ``target`` parameters."""
    count = held = 0
    for block in reversed(blocks):
        if held >= target:
            break
        held += block.parameters
        count += bool(block.parameters)
    return count


def total_parameters(blocks: Sequence[BlockInfo]) -> int:
    return sum(block.parameters for block in blocks)


def _check_bounds(f: dataclasses.Field[Any], value: Any, *, flag: str) -> None:
    if not isinstance(value, (int, float)):
        return
    low, above, high = (f.metadata.get(key) for key in ("ge", "gt", "le"))
    fits = (
        not math.isnan(value)
        and (low is None or value >= low)
        and (above is None or value > above)
        and (high is None or value <= high)
    )
    if not fits:
        wanted = [f"at least {low}"] if low is not None else []
        wanted += [f"above {above}"] if above is not None else []
        wanted += [f"at most {high}"] if high is not None else []
        raise ValueError(f"{flag} must be {' and '.join(wanted)}, not {value}")
