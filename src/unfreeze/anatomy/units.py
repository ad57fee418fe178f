"""Units: candidate blocks in the order in which they were found, before loose ends are folded into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from unfreeze.anatomy.tree import Tree, is_below

_WORKING = ("Linear", "Conv")


@dataclass(frozen=True)
class Unit:
    """A subtree (or several) that is frozen as one.

    Attributes:
        name: qualified name of the module that gives the unit its name.
        roots: qualified names of its topmost modules.
        chosen: someone said that this is a block: the caller, or the model's own declaration. The others are
            finds, which may be folded into a neighbour.
        stem: declared to be the stem.
        joins_next: goes with the unit after it (a downsampling step between two stages).
    """

    name: str
    roots: tuple[str, ...]
    chosen: bool = False
    stem: bool = False
    joins_next: bool = False

    def with_roots(self, before: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> Unit:
        return Unit(self.name, (*before, *self.roots, *after), self.chosen, self.stem, self.joins_next)


def collect(tree: Tree, roots: dict[str, Unit], skip: tuple[str, ...], top: str = "") -> Iterator[Unit]:
    """Units below ``top`` in registration order: the given ones by root, and whatever lies between them as
    finds.
    """
    emitted: set[str] = set()
    for name, _ in tree.children(top):
        if name in skip:
            continue
        if name in roots:
            unit = roots[name]
            if unit.name not in emitted:
                emitted.add(unit.name)
                yield unit
        elif any(is_below(root, name) for root in (*roots, *skip)):
            for unit in collect(tree, roots, skip, name):
                if unit.name not in emitted:
                    emitted.add(unit.name)
                    yield unit
        else:
            yield Unit(name, (name,))


def in_order(units: list[Unit], order: tuple[Unit, ...]) -> list[Unit]:
    """Chosen units in the given order; every find stays behind the chosen unit that it follows."""
    before: list[Unit] = []
    following: dict[str, list[Unit]] = {}
    current = before
    for unit in units:
        if unit.chosen:
            following[unit.name] = current = [unit]
        else:
            current.append(unit)
    return before + [unit for chosen in order for unit in following.get(chosen.name, ())]


def is_norm(module: nn.Module) -> bool:
    """Whether a leaf normalises: BatchNorm, LayerNorm, RMSNorm … and their kin in other libraries, by class
    name.
    """
    return "norm" in type(module).__name__.lower() and not any(
        any(word in type(child).__name__ for word in _WORKING) for child in module.modules()
    )


def is_dropout(module: nn.Module) -> bool:
    """Whether a module without parameters is noise in training mode (Dropout, StochasticDepth, DropPath)."""
    name = type(module).__name__.lower()
    return "drop" in name or "stochastic" in name


def is_working(module: nn.Module) -> bool:
    """Whether a leaf is a linear layer or a convolution, so that it could be a classifier."""
    # weight norm and its kin hang a container of that name below the layer
    leaf = all(name == "parametrizations" for name, _ in module.named_children())
    return leaf and any(word in type(module).__name__ for word in _WORKING)
