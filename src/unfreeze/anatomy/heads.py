"""Heads: what the model declares, else its last linear layer or convolution."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from unfreeze.anatomy.layouts import Declaration
from unfreeze.anatomy.order import sort_by_execution
from unfreeze.anatomy.structure import structural
from unfreeze.anatomy.tree import Tree
from unfreeze.anatomy.units import Unit, is_working


def declared_heads(tree: Tree, said: Declaration | None) -> tuple[str, ...]:
    """The entries of a ``heads`` ModuleDict and what the model names beside it, or a known model's
    classifier; else nothing.

    ``head_modules`` names attributes of the model that were made for the tasks like the heads, and feed them;
    one that is no module, or owns no parameters, has nothing to train.
    """
    own = getattr(tree.model, "heads", None)
    if isinstance(own, nn.ModuleDict) and len(own):
        beside = (getattr(tree.model, name, None) for name in getattr(tree.model, "head_modules", ()))
        feeding = [m for m in beside if isinstance(m, nn.Module) and next(m.parameters(), None) is not None]
        return tuple(name for name in map(tree.canonical, (*feeding, *own.values())) if name is not None)
    # a declared classifier inside a larger model feeds something newer: then the structure decides
    if said is None or tree.parameters("") > tree.parameters(said.owner):
        return ()
    return said.heads


def last_classifiers(tree: Tree, calls: Mapping[str, int] | None) -> tuple[str, ...]:
    """The last unit with a linear layer or convolution, and the siblings before it that read the same
    feature.

    Raises:
        ValueError: there is none, or it is one of several like blocks rather than a classifier.
    """
    units = list(structural(tree, ()))
    if calls is not None:
        units = sort_by_execution(tree, units, calls)
    while units and not _working(tree, units[-1]):
        units.pop()
    if not units:
        raise ValueError(
            "found no linear layer or convolution that could be the head: name it with heads=[…]"
        )
    last = units[-1]
    home = tree.modules[_parent(last)]
    kind = type(tree.peeled(last.name)[1])
    like = [
        unit for unit in units if _parent(unit) == _parent(last) and type(tree.modules[unit.name]) is kind
    ]
    if (
        len(like) > 1
        and isinstance(home, (nn.Sequential, nn.ModuleList))
        and kind not in (nn.Linear, nn.Sequential)
    ):
        raise ValueError(
            f"found no head: the model ends in {last.name}, one of {len(like)} like blocks; "
            "name the head with heads=[…]"
        )
    found = [last.name]
    if not isinstance(home, nn.Sequential):
        width = _widths(tree, last)[0]
        for unit in reversed(units[:-1]):
            reads, gives = _widths(tree, unit)
            # a layer as wide as the feature may be followed by the next one; a classifier is another width
            alike = type(tree.peeled(unit.name)[1]) in (kind, nn.Linear, nn.Sequential)
            beside = alike and _parent(unit) == _parent(last)
            if not beside or width is None or reads != width or gives == width:
                break
            found.append(unit.name)
    return tuple(reversed(found))


def _parent(unit: Unit) -> str:
    return unit.name.rpartition(".")[0]


def _working(tree: Tree, unit: Unit) -> list[nn.Module]:
    return [module for module in tree.modules[unit.name].modules() if is_working(module)]


def _widths(tree: Tree, unit: Unit) -> tuple[int | None, int | None]:
    """What the first linear layer of a unit reads and the last one gives; None where there is none."""
    linear = [module for module in _working(tree, unit) if hasattr(module, "in_features")]
    return (int(linear[0].in_features), int(linear[-1].out_features)) if linear else (None, None)  # type: ignore[arg-type]
