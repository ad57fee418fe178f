"""Seeing through DataParallel, DistributedDataParallel and ``torch.compile``."""

from __future__ import annotations

from torch import nn

# attribute under which a wrapper keeps the wrapped model, by class name: naming the classes themselves would
# import torch._dynamo and torch.distributed
_INNER = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}


def inner_attribute(module: nn.Module) -> str | None:
    """``_orig_mod`` or ``module`` where ``module`` is a wrapper, else None."""
    for cls in type(module).__mro__:
        if cls.__name__ in _INNER and cls.__module__.startswith("torch."):
            return _INNER[cls.__name__]
    return None


def unwrap(model: nn.Module) -> nn.Module:
    """The model below DataParallel, DistributedDataParallel and ``torch.compile``, in any nesting."""
    while (attribute := inner_attribute(model)) is not None:
        model = getattr(model, attribute)
    return model


def peel(name: str, module: nn.Module) -> tuple[str, nn.Module]:
    """Like ``unwrap`` for a submodule: also extends its qualified name (``backbone`` ->
    ``backbone._orig_mod``).
    """
    while (attribute := inner_attribute(module)) is not None:
        name, module = f"{name}.{attribute}", getattr(module, attribute)
    return name, module
