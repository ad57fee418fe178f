"""Which parameters a model's parts own, as tensors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from unfreeze.anatomy import Anatomy

Named = list[tuple[str, nn.Parameter]]


def owned(model: nn.Module, anatomy: Anatomy) -> dict[str, Named]:
    """Every part's parameters with their names, looked up anew: a model may have been sharded or cast since.

    Raises:
        ValueError: the (unwrapped) model is not what was dissected.
    """
    there = dict(model.named_parameters(remove_duplicate=False))
    parts: dict[str, Named] = {}
    seen: set[int] = set()
    for part in anatomy.parts:
        gone = [name for name in part.parameters if name not in there]
        if gone:
            raise ValueError(
                f"the model no longer has {listed(gone)} of {part.name!r}; "
                "make a new Freezer after changing a model"
            )
        parts[part.name] = [(name, there[name]) for name in part.parameters if id(there[name]) not in seen]
        seen.update(id(there[name]) for name in part.parameters)
    strange = [name for name, parameter in there.items() if id(parameter) not in seen]
    if strange:
        raise ValueError(
            f"{listed(strange)} is in no block or head; make a new Freezer after changing a model"
        )
    return parts


def can_train(parameter: nn.Parameter) -> bool:
    """Quantised weights are integers, which have no gradient."""
    return parameter.is_floating_point() or parameter.is_complex()


def listed(names: Sequence[str]) -> str:
    """Names for a message that stays one line."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
