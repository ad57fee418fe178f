"""``dissect``: asks the caller, then the model, then the structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from unfreeze.anatomy.heads import declared_heads, last_classifiers
from unfreeze.anatomy.layouts import declared
from unfreeze.anatomy.order import execution_order, sort_by_execution
from unfreeze.anatomy.patterns import resolve
from unfreeze.anatomy.place import assemble, fold
from unfreeze.anatomy.structure import gather_stem, structural
from unfreeze.anatomy.tree import Tree, ancestors, is_below
from unfreeze.anatomy.types import Anatomy
from unfreeze.anatomy.units import Unit, collect, in_order, is_norm
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
    backbone, and the attributes that ``head_modules`` names with it); the structure (containers of like
    children, the last linear layer or convolution). Parameters that the root owns belong to the stem, a final
    norm to the last block, tied parameters to the block nearest the input.

    Args:
        model: any module; DataParallel, DistributedDataParallel and ``torch.compile`` are seen through.
        heads: qualified names or globs of the heads (``["fc"]``).
        blocks: qualified names or globs of the blocks; the order of the list is the order of the blocks
            (``["stem", "layer?.*"]``), and within one glob the order of registration.
        example: an input tensor, a tuple of positional or a dict of keyword arguments. With it, blocks are
            put into the order in which they run (the caller's ``blocks`` keep theirs).

    Raises:
        ValueError: a pattern that matches nothing; no head or no block to be found; a lazy parameter; a block
            that never runs on ``example``; a module with parameters that no pattern of the caller's covers.
    """
    tree = Tree(unwrap(model))
    calls = execution_order(tree, example) if example is not None else None
    said = declared(tree)
    if heads is not None:
        head_roots = tuple(resolve(tree, heads, "heads"))
    else:
        head_roots = declared_heads(tree, said) or last_classifiers(tree, calls)

    if blocks is not None:
        units = _callers_units(tree, resolve(tree, blocks, "blocks"), head_roots)
    elif said is not None:
        roots = {root: unit for unit in said.units for root in unit.roots if not _inside(root, head_roots)}
        units = in_order(list(collect(tree, roots, head_roots)), said.units)
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
    return in_order(found, tuple(roots.values()))


def _inside(name: str, roots: tuple[str, ...]) -> bool:
    return any(above in roots for above in (name, *ancestors(name)))
