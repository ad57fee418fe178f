"""The answer of ``dissect``: plain, JSON-ready data without tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from unfreeze.anatomy.unwrap import unwrap
from unfreeze.options import nearest


@dataclass(frozen=True)
class Part:
    """A head or a block. All names are qualified names on the unwrapped model.

    Attributes:
        name: what strategies, logs and flags call it: ``layer4.1``, ``stem``, ``heads.motion``.
        parameters: the parameters it owns; a tied parameter is named once, where it is nearest the input.
        buffers: its buffers, persistent or not (BatchNorm statistics …).
        modules: every module that belongs to it alone, its roots and all below them. Containers that span
            several parts are in none.
    """

    name: str
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    modules: tuple[str, ...]

    @property
    def roots(self) -> tuple[str, ...]:
        """The topmost of ``modules``: one for most blocks, several for a composed stem."""
        inside = set(self.modules)
        return tuple(name for name in self.modules if name.rpartition(".")[0] not in inside)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Part:
        return cls(data["name"], *(tuple(data[key]) for key in ("parameters", "buffers", "modules")))


@dataclass(frozen=True)
class Anatomy:
    """A model's heads and its blocks, ordered from input to output; every parameter and buffer is in exactly
    one.
    """

    heads: tuple[Part, ...]
    blocks: tuple[Part, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """Blocks from input to output, then heads."""
        return (*self.blocks, *self.heads)

    def part(self, name: str) -> Part:
        """The block or head of this name.

        Raises:
            ValueError: there is none; the message has the nearest name.
        """
        for part in self.parts:
            if part.name == name:
                return part
        names = [part.name for part in self.parts]
        hint = nearest(name, names) or f"; there are {', '.join(names)}"
        raise ValueError(f"no block or head is called {name!r}{hint}")

    def sizes(self, model: nn.Module) -> dict[str, int]:
        """Parameters (elements) of every part by name, counted on ``model``, wrapped or not; tied ones once.

        Raises:
            ValueError: ``model`` lacks a parameter that this anatomy names.
        """
        counts = {name: p.numel() for name, p in unwrap(model).named_parameters(remove_duplicate=False)}
        missing = [name for part in self.parts for name in part.parameters if name not in counts]
        if missing:
            raise ValueError(f"the model has no parameter {missing[0]!r}: this anatomy is of another model")
        return {part.name: sum(counts[name] for name in part.parameters) for part in self.parts}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``from_dict`` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Anatomy:
        return cls(*(tuple(Part.from_dict(part) for part in data[key]) for key in ("heads", "blocks")))
