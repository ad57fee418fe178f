"""``dissect``: asks the caller, then the model, then the structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from unfreeze.anatomy.layouts import Declaration, declared
from unfreeze.anatomy.order import execution_order, sort_by_execution
from unfreeze.anatomy.patterns import resolve
from unfreeze.anatomy.place import assemble, fold
from unfreeze.anatomy.structure import gather_stem, structural
from unfreeze.anatomy.tree import Tree, ancestors, is_below
from unfreeze.anatomy.types import Anatomy
from unfreeze.anatomy.units import Unit, collect, is_norm, is_working
from unfreeze.anatomy.unwrap import unwrap


def dissect(
    model: nn.Module,
    heads: Sequence[str] | None = None,
    blocks: Sequence[str] | None = None,
    example: Any = None,
) -> Anatomy:
    """Find a model's heads and its blocks, ordered from input to output.

    Asked in this order: the patterns given here; the model's own declaration (timm's ``group_matcher`` and
    ``get_classifier``, known layouts of torchvision and transformers, a ``heads`` ModuleDict beside the
    backbone); the structure (containers of like children, the last linear layer or convolution). Parameters
    that the root owns belong to the stem, a final norm to the last block, tied parameters to the block
    nearest the input.

    Args:
        model: any module; DataParallel, DistributedDataParallel and ``torch.compile`` are seen through.
        heads: qualified names or globs of the heads (``["fc"]``).
        blocks: qualified names or globs of the blocks; the order of the list is the order of the blocks
            (``["stem", "layer?.*"]``), and within one glob the order of registration.
        example: an input tensor, a tuple of positional or a dict of keyword arguments. With it, blocks are
            put into
            the order in which they run (the caller's ``blocks`` keep theirs).

    Raises:
        ValueError: a pattern that matches nothing; no head or no block to be found; a lazy parameter; a block
            that
            never runs on ``example``; a module with parameters that no pattern of the caller's covers.
    """
    tree = Tree(unwrap(model))
    calls = execution_order(tree, example) if example is not None else None
    said = declared(tree)
    head_roots = tuple(resolve(tree, heads, "heads")) if heads is not None else _declared_heads(tree, said)
    if head_roots is None:
        head_roots = _last_classifiers(tree, list(structural(tree, ())), calls)
    if heads is None and blocks is not None:
        head_roots = tuple(h for h in head_roots if h not in resolve(tree, blocks, "blocks"))
    if not head_roots:
        raise ValueError("found no head: name the layers made for your task with heads=[…]")

    if blocks is not None:
        units = _callers_units(tree, resolve(tree, blocks, "blocks"), head_roots)
    elif said is not None:
        roots = {root: unit for unit in said.units for root in unit.roots if not _inside(root, head_roots)}
        units = list(collect(tree, roots, head_roots))
    else:
        units = list(structural(tree, head_roots))
    if calls is not None and blocks is None:
        units = sort_by_execution(tree, units, calls)
    if blocks is None and said is None:
        units = gather_stem(tree, units)
    folded, to_heads = fold(tree, units)
    if not folded:
        raise ValueError(
            f"found no block besides the head {', '.join(head_roots)}: name them with blocks=[…]"
        )
    return assemble(tree, folded, head_roots, to_heads)


def _declared_heads(tree: Tree, said: Declaration | None) -> tuple[str, ...] | None:
    own = getattr(tree.model, "heads", None)
    if isinstance(own, nn.ModuleDict) and len(own):
        return tuple(name for name in map(tree.canonical, own.values()) if name is not None)
    if said is None or not said.heads:
        return None
    # a declared classifier inside a larger model feeds something newer: then the structure decides
    outside = tree.parameters("") - tree.parameters(said.owner)
    return said.heads if not outside else None


def _last_classifiers(tree: Tree, units: list[Unit], calls: dict[str, int] | None) -> tuple[str, ...]:
    """The unit with the last linear layer or convolution, and its parallel siblings that read the same
    feature.
    """
    working = [name for name, module in tree.modules.items() if is_working(module)]
    if calls is not None:
        working = sorted((name for name in working if name in calls), key=lambda name: calls[name])
    if not working:
        raise ValueError(
            "found no linear layer or convolution that could be the head: name it with heads=[…]"
        )
    last = next(unit for unit in units if any(is_below(working[-1], root) for root in unit.roots))
    kind = type(tree.peeled(last.name)[1])
    composite = next(tree.modules[last.name].children(), None) is not None
    home = last.name.rpartition(".")[0]
    like = [u for u in units if type(tree.peeled(u.name)[1]) is kind and u.name.rpartition(".")[0] == home]
    if composite and len(like) > 1 and isinstance(tree.modules.get(home), (nn.Sequential, nn.ModuleList)):
        raise ValueError(
            f"found no head: the model ends in {last.name}, one of {len(like)} like blocks; "
            "name the head with heads=[…]"
        )
    width = _input_width(tree, last.name)
    parallel = [
        u.name for u in units if u.name.rpartition(".")[0] == home and _input_width(tree, u.name) == width
    ]
    if isinstance(tree.modules[home], nn.Sequential):
        return (last.name,)
    trailing = _trailing(tree, units, last)
    return tuple(name for name in parallel if name in trailing)


def _trailing(tree: Tree, units: list[Unit], last: Unit) -> list[str]:
    """Names of the units at the end of the model that own a linear layer and stand beside the last one."""
    names: list[str] = []
    for unit in reversed(units):
        module = tree.modules[unit.name]
        if not tree.owns_state(unit.name):
            continue
        if unit.name.rpartition(".")[0] != last.name.rpartition(".")[0]:
            break
        linear = not is_norm(module) and any(hasattr(inner, "in_features") for inner in module.modules())
        if not linear and unit.name != last.name:
            break
        names.append(unit.name)
    return names


def _input_width(tree: Tree, name: str) -> int | None:
    for module in tree.modules[name].modules():
        if is_working(module):
            width = getattr(module, "in_features", None)
            return int(width) if width is not None else None
    return None


def _callers_units(tree: Tree, chosen: list[str], heads: tuple[str, ...]) -> list[Unit]:
    """The caller's blocks in the caller's order; loose ends after the block that they follow in registration
    order.

    Raises:
        ValueError: a module with parameters that is neither a block, a head, nor a norm that closes a block.
    """
    for name in chosen:
        rival = next((head for head in heads if is_below(head, name) or is_below(name, head)), None)
        if rival is not None:
            raise ValueError(f"blocks: {name} overlaps the head {rival}; name the heads with heads=[…] too")
    roots = {name: Unit(name, (name,), chosen=True) for name in chosen}
    found = list(collect(tree, roots, heads))
    uncovered = [
        unit.name
        for unit in found
        if not unit.chosen and tree.parameters(unit.name) and not is_norm(tree.modules[unit.name])
    ]
    if uncovered:
        more = f" and {len(uncovered) - 5} more" if len(uncovered) > 5 else ""
        raise ValueError(
            f"blocks: no pattern covers {', '.join(uncovered[:5])}{more}, which own parameters: "
            "add them to blocks=[…] or heads=[…]"
        )
    following: dict[str, list[Unit]] = {}
    before: list[Unit] = []
    current = before
    for unit in found:
        if unit.chosen:
            current = following.setdefault(unit.name, [])
        else:
            current.append(unit)
    ordered = list(before)
    for name in chosen:
        ordered += [roots[name], *following[name]]
    return ordered


def _inside(name: str, roots: tuple[str, ...]) -> bool:
    return any(above in roots for above in (name, *ancestors(name)))
