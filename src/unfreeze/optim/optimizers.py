"""Optimizers by name: the classes of ``torch.optim``, in lower case."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from unfreeze.optim.arguments import call, check_arguments
from unfreeze.optim.muon import MuonWithAdamW
from unfreeze.options import nearest

_UNFIT = {
    "lbfgs": "it needs a closure that computes the loss anew, and one vector of all parameters",
    "sparseadam": "it takes sparse gradients only, and video models have dense ones",
}

_CLASSES: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls
    for cls in vars(torch.optim).values()
    if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer
} | {"muon": MuonWithAdamW}

# plain SGD without momentum is hardly ever what somebody who asks for "sgd" wants to fine-tune with
_DEFAULTS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}}


def optimizers() -> tuple[str, ...]:
    """The names that ``build_optimizer`` takes, sorted."""
    return tuple(sorted(_CLASSES.keys() - _UNFIT.keys()))


def build_optimizer(
    name: str, param_groups: Iterable[Any], *, lr: float, weight_decay: float | None = None, **extra: Any
) -> Optimizer:
    """The optimizer called ``name`` (a class of ``torch.optim`` in lower case) over ``param_groups``.

    ``sgd`` gets a momentum of 0.9 unless ``extra`` says otherwise. ``muon`` is Muon for matrices of hidden
    layers and AdamW for the rest.

    Args:
        lr: learning rate of groups that have none of their own.
        weight_decay: of groups that have none of their own; None leaves the class its default.
        extra: further arguments of the class.

    Raises:
        ValueError: an unknown name or argument (the message has the nearest one), a value of the wrong kind
            or out of range, or an optimizer that cannot train this model block by block (LBFGS,
            SparseAdam).
    """
    key = name.lower()
    if key in _UNFIT:
        raise ValueError(
            f"optimizer {name!r} cannot be used here: {_UNFIT[key]}; take one of {', '.join(optimizers())}"
        )
    if key not in _CLASSES:
        known = ", ".join(optimizers())
        raise ValueError(f"unknown optimizer {name!r}{nearest(key, optimizers())} (known: {known})")
    cls, what = _CLASSES[key], f"optimizer {key!r}"
    groups = [dict(group) if isinstance(group, dict) else group for group in param_groups]
    decays = [weight_decay, *(group.get("weight_decay") for group in groups if isinstance(group, dict))]
    if key == "rprop" and any(decays):
        raise ValueError("optimizer 'rprop' knows no weight decay; set it to 0 or take another optimizer")
    arguments = {"lr": lr, **_DEFAULTS.get(key, {}), **extra}
    if weight_decay is not None and key != "rprop":
        arguments["weight_decay"] = weight_decay
    check_arguments(what, cls, arguments)
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    optimizer: Optimizer = call(what, cls, groups, **arguments)
    shares = {(group.get("kind"), group.get("algorithm")) for group in optimizer.param_groups}
    if key == "muon" and ("block", "adamw") in shares and ("block", "muon") not in shares:
        # AdamW alone is not what was asked for
        raise ValueError(
            "optimizer 'muon' needs weight matrices in hidden layers and this backbone has none, only "
            "convolutions; take adamw"
        )
    return optimizer
