"""Adding parameters to an optimizer that is already running, under a scheduler that is already running.

The new group is a twin of one that was there from the start: the same options, the same learning rate now
and at the beginning, the same place in every per-group list of the scheduler. Twins stay equal under any
scheduler, so nothing has to be known about how it computes its learning rates.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

# every attribute of a scheduler in torch.optim.lr_scheduler and torch.optim.swa_utils that has one entry
# per group
_PER_GROUP = ("base_lrs", "_last_lr", "lr_lambdas", "min_lrs", "max_lrs", "base_momentums", "max_momentums")


def add_group(
    optimizer: Optimizer,
    scheduler: Any,
    params: Sequence[tuple[str, nn.Parameter]],
    *,
    like: int = 0,
    name: str,
) -> None:
    """Add named ``params`` to ``optimizer`` in place, as a twin of its group number ``like``.

    Args:
        scheduler: the optimizer's scheduler, several of them in a list, or None; nested ones are found.
        name: what the new group's ``name`` says.

    Raises:
        ValueError: the optimizer has a scheduler that was not given, one that is not torch's, or one whose
            lists do not match its groups.
    """
    schedulers = list(_flatten(scheduler))
    if not schedulers and hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        raise ValueError(
            f"cannot add {name!r} to an optimizer whose scheduler is unknown; "
            "pass it: attach(optimizer, scheduler)"
        )
    count = len(optimizer.param_groups)
    for one in schedulers:
        _check(one, count)
    twin = optimizer.param_groups[like]
    group = {key: copy.deepcopy(value) for key, value in twin.items() if key not in ("params", "param_names")}
    if "parameter_names" in group:
        group["parameter_names"] = tuple(each for each, _ in params)
    group |= {"params": list(params) if "param_names" in twin else [p for _, p in params], "name": name}
    if "kind" in group:
        group["kind"] = "block"
    optimizer.add_param_group(group)
    for added in optimizer.param_groups[count:]:
        _initialise(optimizer, added)
        for one in schedulers:
            _grow(one, like)


def _flatten(scheduler: Any) -> Iterator[Any]:
    """A scheduler and those inside it; ``Schedule`` and lists are opened."""
    if scheduler is None:
        return
    if isinstance(scheduler, (list, tuple)):
        for one in scheduler:
            yield from _flatten(one)
    elif hasattr(scheduler, "scheduler"):
        yield from _flatten(scheduler.scheduler)
    else:
        yield scheduler
        yield from _flatten(getattr(scheduler, "_schedulers", None))


def _check(scheduler: Any, count: int) -> None:
    if not isinstance(scheduler, LRScheduler):
        raise ValueError(
            f"cannot add a group under a {type(scheduler).__name__}, which is not one of torch's schedulers; "
            "build the optimizer from freezer.param_groups(), then no group is ever added"
        )
    for key in _PER_GROUP:
        values = getattr(scheduler, key, None)
        if values is not None and len(values) != count:
            raise ValueError(
                f"{type(scheduler).__name__}.{key} has {len(values)} entries for {count} parameter groups; "
                "add groups before making the scheduler, or leave adding them to the freezer"
            )


def _grow(scheduler: Any, like: int) -> None:
    for key in _PER_GROUP:
        values = getattr(scheduler, key, None)
        if values is not None:
            # a new list: a SequentialLR shows the very list of the scheduler that it runs
            setattr(scheduler, key, [*values, _twin_of(values[like])])


def _twin_of(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _initialise(optimizer: Optimizer, group: dict[str, Any]) -> None:
    """Adagrad makes its state in the constructor and relies on it being there."""
    if isinstance(optimizer, torch.optim.Adagrad):
        fields = (
            "lr_decay",
            "weight_decay",
            "initial_accumulator_value",
            "eps",
            "foreach",
            "maximize",
            "fused",
        )
        fresh = torch.optim.Adagrad(group["params"], **{key: group[key] for key in fields})
        optimizer.state.update(fresh.state)
