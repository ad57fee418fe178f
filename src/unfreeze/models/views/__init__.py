"""How the features of several views of one event become one feature: one file each.

Each is called with features (B, V, D) and a mask (B, V), True where a view is there, or None where all are;
it returns (B, D). A view that is not there must not matter to the last bit: its feature is zero, finite, and
nothing else may be assumed of it.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from unfreeze.models.views.attention import AttentionPooling
from unfreeze.models.views.max import max_of_views
from unfreeze.models.views.mean import mean_of_views
from unfreeze.options import nearest

Pooling = Callable[[Tensor, Tensor | None], Tensor]

# name -> the pooling for features of a width; what owns parameters is a module and trains with the heads
_POOLINGS: dict[str, Callable[[int], Pooling]] = {
    "mean": lambda _: mean_of_views,
    "max": lambda _: max_of_views,
    "attention": AttentionPooling,
}


def poolings() -> tuple[str, ...]:
    """What ``--views`` may be."""
    return tuple(_POOLINGS)


def make_pooling(name: str, features: int) -> Pooling:
    """The pooling of this name for features of width ``features``.

    Raises:
        ValueError: unknown; the message has the nearest name.
    """
    if name not in _POOLINGS:
        hint = nearest(name, poolings())
        raise ValueError(f"views are pooled by {', '.join(poolings())}, not {name!r}{hint}")
    return _POOLINGS[name](features)
