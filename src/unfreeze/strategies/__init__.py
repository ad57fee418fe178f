"""Strategies by name. Every module of this package is imported, so a new strategy is one new file."""

from __future__ import annotations

import importlib
import pkgutil

from unfreeze.options import nearest
from unfreeze.strategies.base import REGISTRY, BlockInfo, Decision, Strategy

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["BlockInfo", "Decision", "Strategy", "available", "get"]


def available() -> tuple[str, ...]:
    """The names of all strategies, sorted."""
    return tuple(sorted(REGISTRY))


def get(name: str) -> type[Strategy]:
    """The strategy class called ``name``.

    Raises:
        ValueError: there is none; the message names the nearest one.
    """
    if name not in REGISTRY:
        known = available()
        raise ValueError(
            f"unknown freezing strategy {name!r}{nearest(name, known)} (known: {', '.join(known)})"
        )
    return REGISTRY[name]
