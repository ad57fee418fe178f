"""Qualified-name globs -> the topmost modules that they match."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from unfreeze.anatomy.tree import Tree, is_below
from unfreeze.options import nearest


def topmost(names: Iterable[str], pattern: str) -> list[str]:
    """The names that match, without those below a match (``layer4.*`` also matches ``layer4.0.conv1``)."""
    found: list[str] = []
    for name in names:
        if name and fnmatchcase(name, pattern) and not any(is_below(name, above) for above in found):
            found.append(name)
    return found


def resolve(tree: Tree, patterns: Sequence[str], what: str) -> list[str]:
    """The modules that the caller's globs name, in the caller's order, within one glob in registration order.

    Globs are compared with names as people write them, without ``_orig_mod`` of compiled inner modules.

    Raises:
        ValueError: a glob matches nothing, or a module that an earlier glob has already taken.
    """
    if isinstance(patterns, str):
        raise ValueError(f"{what} is a list of names or globs, not the string {patterns!r}")
    by_plain_name: dict[str, str] = {}
    for name, module in tree.model.named_modules(remove_duplicate=False):
        # a wrapped inner module and its wrapper share a plain name: the outer one stands for both
        by_plain_name.setdefault(tree.plain_name(name), tree.canonical(module) or name)
    taken: dict[str, str] = {}
    for pattern in patterns:
        matches = topmost(by_plain_name, pattern)
        if not matches:
            raise ValueError(
                f"{what}: no module is called {pattern!r}{nearest(pattern, list(by_plain_name))}"
            )
        for name in dict.fromkeys(by_plain_name[match] for match in matches):
            rival = next((there for there in taken if is_below(name, there) or is_below(there, name)), None)
            if rival is not None:
                raise ValueError(
                    f"{what}: {pattern!r} takes {name}, which {taken[rival]!r} has already taken"
                )
            taken[name] = pattern
    return list(taken)
