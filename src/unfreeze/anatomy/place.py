"""From ordered units to parts: loose ends are folded into blocks, then everything is accounted for."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from unfreeze.anatomy.tree import Tree, ancestors, is_below, join
from unfreeze.anatomy.types import Anatomy, Part
from unfreeze.anatomy.units import Unit, is_dropout, is_norm


def fold(tree: Tree, units: Sequence[Unit]) -> tuple[list[Unit], list[str]]:
    """Blocks, and the roots of dropout between the last block and the heads, which belongs to the heads.

    Nothing that was chosen is folded. What joins the next unit does; a norm that stands alone closes the
    block before it (the final norm belongs to the last block); so does whatever has no state (activations,
    pooling). Ahead of the first block, these open it instead.
    """
    blocks: list[Unit] = []
    waiting: tuple[str, ...] = ()
    to_heads: list[str] = []
    for index, unit in enumerate(units):
        stateless = not any(tree.owns_state(root) for root in unit.roots)
        loose = not unit.chosen and not unit.stem
        last = loose and not any(tree.owns_state(r) for later in units[index + 1 :] for r in later.roots)
        if loose and stateless and last and any(is_dropout(m) for m in _modules(tree, unit)):
            to_heads.extend(unit.roots)
        elif loose and (stateless or all(is_norm(tree.modules[root]) for root in unit.roots)):
            if blocks and not waiting:
                blocks[-1] = blocks[-1].with_roots(after=unit.roots)
            else:
                waiting += unit.roots
        elif unit.joins_next and index + 1 < len(units):
            waiting += unit.roots
        else:
            blocks.append(unit.with_roots(before=waiting))
            waiting = ()
    if waiting and blocks:
        blocks[-1] = blocks[-1].with_roots(after=waiting)
    return blocks, to_heads


def assemble(tree: Tree, blocks: Sequence[Unit], heads: Sequence[str], to_heads: Sequence[str]) -> Anatomy:
    """Every atom of the model in exactly one part.

    Parameters that a container of several blocks owns itself (``cls_token``, position embeddings) go to the
    first block inside that container, or to the first block of all where the container holds all blocks but
    the stem. Tied parameters are named once, in the block nearest the input.
    """
    owner: dict[str, int] = {}  # root -> index of its part; blocks first, then heads
    for index, block in enumerate(blocks):
        owner.update(dict.fromkeys(block.roots, index))
    owner.update({head: index for index, head in enumerate(heads, start=len(blocks))})
    owner.update(dict.fromkeys(to_heads, len(blocks)))
    part_of: dict[str, int] = {}  # atom -> index of its part
    spanning: list[str] = []
    for name in tree.modules:
        if not tree.is_atom(name):
            continue
        root = next((above for above in (name, *ancestors(name)) if above in owner), None)
        if root is not None:
            part_of[name] = owner[root]
        elif name:
            spanning.append(name)
    if "" in tree.modules and tree.is_atom(""):
        spanning.append("")
    for name in spanning:
        part_of[name] = _home(part_of, name, len(blocks))

    names = [*_block_names(tree, blocks), *(tree.plain_name(head) for head in heads)]
    if len(set(names)) < len(names):
        names = [
            *(tree.plain_name(block.name) for block in blocks),
            *(tree.plain_name(head) for head in heads),
        ]
    parameters = _tensors(tree, part_of, "parameters", len(names))
    buffers = _tensors(tree, part_of, "buffers", len(names))
    inside: dict[str, set[int]] = {}  # module -> the parts of all that is at or below it
    for atom, index in part_of.items():
        for name in (atom, *ancestors(atom)):
            inside.setdefault(name, set()).add(index)
    modules: list[list[str]] = [[] for _ in names]
    for name in tree.modules:
        # a wrapped inner module and its wrapper hold the same atoms and so go together
        if name and name not in spanning and len(its := inside.get(name, set())) == 1:
            modules[min(its)].append(name)
    parts = [Part(*each) for each in zip(names, parameters, buffers, map(tuple, modules), strict=True)]
    return Anatomy(heads=tuple(parts[len(blocks) :]), blocks=tuple(parts[: len(blocks)]))


def _home(part_of: dict[str, int], container: str, count: int) -> int:
    inside = {index for atom, index in part_of.items() if is_below(atom, container)}
    inside_blocks = {index for index in inside if index < count}
    if not inside_blocks:
        return min(inside, default=0)
    return 0 if len(inside_blocks) >= count - 1 else min(inside_blocks)


def _tensors(tree: Tree, part_of: dict[str, int], kind: str, count: int) -> list[tuple[str, ...]]:
    found: list[tuple[int, str, int]] = []  # part, qualified name, identity
    for atom, index in part_of.items():
        module = tree.modules[atom]
        own = (
            module.named_parameters(recurse=False)
            if kind == "parameters"
            else module.named_buffers(recurse=False)
        )
        found.extend((index, join(atom, key), id(tensor)) for key, tensor in own)
    position = {name: at for at, name in enumerate(tree.modules)}
    found.sort(key=lambda entry: (entry[0], position[entry[1].rpartition(".")[0]]))
    result: list[list[str]] = [[] for _ in range(count)]
    seen: set[int] = set()
    for index, name, identity in found:
        if identity not in seen:
            seen.add(identity)
            result[index].append(name)
    return [tuple(names) for names in result]


def _block_names(tree: Tree, blocks: Sequence[Unit]) -> list[str]:
    """Names without the wrapper that all blocks share: ``backbone.layer4.1`` -> ``layer4.1``.

    The wrapper is the innermost module that contains all blocks and is more than a plain container, so that a
    model whose blocks are all in ``features`` keeps ``features.5``.
    """
    # by what gives a block its name: a final norm that was folded in may stand outside the wrapper (VideoMAE)
    roots = [root for block in blocks for root in (block.roots if block.stem else (block.name,))]
    shared = next((a for a in ancestors(roots[0]) if all(is_below(r, a) for r in roots)), "") if roots else ""
    while shared and isinstance(tree.modules[shared], (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
        shared = shared.rpartition(".")[0]
    prefix = tree.plain_name(shared) + "." if shared else ""
    names = ["stem" if block.stem else tree.plain_name(block.name) for block in blocks]
    return [name.removeprefix(prefix) for name in names]


def _modules(tree: Tree, unit: Unit) -> list[nn.Module]:
    return [module for root in unit.roots for module in tree.modules[root].modules()]
