"""In which order modules really run, seen by forward hooks on an example input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from unfreeze.anatomy.tree import Tree, is_below
from unfreeze.anatomy.units import Unit


def execution_order(tree: Tree, example: Any) -> dict[str, int]:
    """Qualified name -> position of the first call, for every module that runs on ``example``.

    ``example`` is an input tensor, a tuple of positional or a dict of keyword arguments. The model runs once,
    without gradients and in evaluation mode, so no state changes; every module's mode is put back.
    """
    calls: dict[str, int] = {}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            calls.setdefault(name, len(calls))

        return hook

    handles = [module.register_forward_pre_hook(remember(name)) for name, module in tree.modules.items()]
    modes = [(module, module.training) for module in tree.modules.values()]
    tree.model.eval()
    try:
        with torch.no_grad():
            if isinstance(example, Mapping):
                tree.model(**example)
            else:
                tree.model(*(example if isinstance(example, (tuple, list)) else (example,)))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return calls


def sort_by_execution(tree: Tree, units: list[Unit], calls: Mapping[str, int]) -> list[Unit]:
    """The units in the order in which they first run; one without state that never runs stays after its
    neighbour.

    Raises:
        ValueError: a unit with parameters or buffers never runs, so it has no place between input and output.
    """
    placed: list[tuple[int, Unit]] = []
    position = -1
    for unit in units:
        runs = [at for name, at in calls.items() if any(is_below(name, root) for root in unit.roots)]
        if not runs and any(tree.owns_state(root) for root in unit.roots):
            raise ValueError(
                f"{unit.name} never runs on the example input, so its place is unknown: "
                "give an example that uses it, or leave example= out and name the order with blocks=[…]"
            )
        position = min(runs) if runs else position
        placed.append((position, unit))
    return [unit for _, unit in sorted(placed, key=lambda pair: pair[0])]
