"""The plain way to do what ``FrozenPrefix`` does: keep the input, and run the whole model each time."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Kept:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class WholeModel:
    """No cut: frozen blocks run again in each pass.

    Args:
        model: its frozen blocks are in frozen mode already.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def encode(self, *args: Any, **kwargs: Any) -> Kept:
        return Kept(*copy.deepcopy((args, kwargs)))

    def decode(self, kept: Kept) -> Any:
        return self.model(*kept.args, **kept.kwargs)

    def gradients(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor | None]:
        """Gradients of all that trains, of the sum of all outputs."""
        return gradients(self.model, self.decode(self.encode(*args, **kwargs)))


def gradients(model: nn.Module, output: Any) -> dict[str, torch.Tensor | None]:
    """Gradients of the sum of an output's tensors for all parameters that train, by name."""
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    tensors = [t for t in torch.utils._pytree.tree_leaves(output) if isinstance(t, torch.Tensor)]
    total = sum(t.float().square().sum() for t in tensors)
    found = torch.autograd.grad(total, list(learning.values()), allow_unused=True)
    return dict(zip(learning, found, strict=True))
