"""Reading blocks off the structure of a model that declares nothing: containers of like children, and their
kin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from torch import nn

from unfreeze.anatomy.tree import Tree, ancestors, is_below
from unfreeze.anatomy.units import Unit, is_working

# with so many linear layers or convolutions, a plain Sequential is a network and not one layer
_DEEP_SEQUENTIAL = 4


def structural(tree: Tree, skip: tuple[str, ...], top: str = "") -> Iterator[Unit]:
    """Candidate blocks below ``top`` in registration order, without the subtrees in ``skip``.

    Plain containers are looked into, and so are modules that keep more than half of their parameters in
    containers of like children (an encoder, a stage). Everything else is one unit: residual blocks, inception
    blocks, stems.
    """
    children = [(name, *tree.peeled(name)) for name, _ in tree.children(top) if name not in skip]
    expand = [_is_container(tree, inner, module, skip) for _, inner, module in children]
    steps = type(tree.modules[top]) is nn.Sequential
    for index, (name, inner, _) in enumerate(children):
        if expand[index]:
            yield from structural(tree, skip, inner)
        else:
            # between two stages of one Sequential stands what changes the resolution: it goes with the stage
            # after it
            between = steps and any(expand[:index]) and any(expand[index + 1 : index + 2])
            yield Unit(name, (name,), joins_next=between and tree.owns_state(name))


def gather_stem(tree: Tree, units: list[Unit]) -> list[Unit]:
    """The units before the first repeated one become the stem, unless its siblings in one container."""
    kinds = [_kind(tree, unit) for unit in units]
    counts = Counter(kind for kind in kinds if kind is not None)
    first = next((i for i, kind in enumerate(kinds) if kind is not None and counts[kind] > 1), 0)
    home = units[first].name.rpartition(".")[0] if units else ""
    leading = [unit for unit in units[:first] if not (home and is_below(unit.name, home))]
    if not home or len(leading) < first or not any(tree.owns_state(r) for u in leading for r in u.roots):
        return units
    stem = Unit("stem", tuple(root for unit in leading for root in unit.roots), stem=True)
    return [stem, *units[first:]]


def _kind(tree: Tree, unit: Unit) -> type | None:
    module = tree.peeled(unit.roots[0])[1]
    composite = next(module.children(), None) is not None
    return type(module) if composite and tree.owns_state(unit.roots[0]) else None


def _is_container(tree: Tree, name: str, module: nn.Module, skip: tuple[str, ...]) -> bool:
    if any(is_below(head, name) for head in skip):
        return True
    if type(module) in (nn.ModuleList, nn.ModuleDict):
        return True
    children = [tree.peeled(child) for child, _ in tree.children(name) if tree.owns_state(child)]
    if type(module) is nn.Sequential:
        composite = any(next(child.children(), None) is not None for _, child in children)
        return composite or sum(is_working(child) for _, child in children) >= _DEEP_SEQUENTIAL
    repeated = sum(tree.parameters(inner) for inner in _repeated(tree, name))
    return 2 * repeated > tree.parameters(name)


def _depth(module: nn.Module) -> int:
    return sum(is_working(inner) for inner in module.modules())


def _repeated(tree: Tree, top: str) -> Iterator[str]:
    """The outermost containers below ``top`` whose children are like composites: stages, lists of layers.

    Chains of convolution, norm and activation do not count, whether subclasses of Sequential or modules with
    a single convolution: they repeat inside a block.
    """
    found: list[str] = []
    for name, module in tree.modules.items():
        if not is_below(name, top) or any(above in found for above in ancestors(name)):
            continue
        if not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
            continue
        children = [tree.peeled(child)[1] for child, _ in tree.children(name) if tree.owns_state(child)]
        kinds = {type(child) for child in children}
        like = len(kinds) == 1 and (len(children) > 1 or isinstance(module, nn.ModuleList))
        if like and not isinstance(children[0], nn.Sequential) and _depth(children[0]) > 1:
            found.append(name)
            yield name
