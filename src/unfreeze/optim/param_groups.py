"""Parameter groups that stay what they are from the first step to the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unfreeze.parameters import Named, can_train


def param_groups(
    blocks: Sequence[str],
    heads: Sequence[str],
    owned: Mapping[str, Named],
    *,
    lr: float,
    head_lr: float | None,
    backbone_lr: float | None,
    layer_decay: float,
    weight_decay: float | None,
) -> list[dict[str, Any]]:
    """One group for each part with parameters, or two where ``weight_decay`` spares biases and norms.

    See ``Freezer.param_groups``.

    Raises:
        ValueError: a rate or a decay is below 0, or ``layer_decay`` is not above 0.
    """
    given = {"lr": lr, "head_lr": head_lr, "backbone_lr": backbone_lr, "weight_decay": weight_decay}
    for name, value in given.items():
        # torch checks the optimizer's own, but takes anything in a group
        if value is not None and not value >= 0:
            raise ValueError(f"{name} must be at least 0, not {value}")
    if not layer_decay > 0:
        raise ValueError(f"layer_decay must be above 0, not {layer_decay}")
    rates = dict.fromkeys(heads, lr if head_lr is None else head_lr)
    rate = lr if backbone_lr is None else backbone_lr
    for block in reversed(blocks):
        rates[block] = rate
        rate *= layer_decay if owned[block] else 1.0
    groups = []
    for part in (*blocks, *heads):
        named = [(name, p) for name, p in owned[part] if can_train(p)]
        shares: list[tuple[str, Named, dict[str, float]]] = [(part, named, {})]
        if weight_decay is not None:
            decayed = [(name, p) for name, p in named if p.ndim > 1]
            spared = [(name, p) for name, p in named if p.ndim <= 1]
            shares = [
                (part, decayed, {"weight_decay": weight_decay}),
                (f"{part}/no_decay", spared, {"weight_decay": 0.0}),
            ]
        groups += [
            {
                "params": [p for _, p in members],
                "lr": rates[part],
                "name": name,
                "kind": "head" if part in heads else "block",
                "parameter_names": tuple(each for each, _ in members),
                **options,
            }
            for name, members, options in shares
            if members
        ]
    return groups
