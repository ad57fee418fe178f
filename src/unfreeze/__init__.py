"""unfreeze: fine-tune pretrained video classifiers, thawing the backbone block by block.

The public names are imported when they are first used, so that ``import unfreeze`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unfreeze.anatomy import Anatomy, Part, dissect, unwrap
    from unfreeze.freezer import Freezer, ParamStatus, Transition
    from unfreeze.history import EpochRecord, History
    from unfreeze.prefix import FrozenPrefix
    from unfreeze.strategies import BlockInfo, Decision, Strategy
    from unfreeze.strategies.adaptive import Adaptive
    from unfreeze.strategies.early_gradual import EarlyGradual
    from unfreeze.strategies.fixed import Fixed, Phase
    from unfreeze.strategies.head_only import HeadOnly
    from unfreeze.strategies.none import NoFreezing
    from unfreeze.strategies.progressive import Progressive

__version__ = "0.1.0"

_HOMES = {
    "unfreeze.anatomy": ("Anatomy", "Part", "dissect", "unwrap"),
    "unfreeze.freezer": ("Freezer", "ParamStatus", "Transition"),
    "unfreeze.history": ("EpochRecord", "History"),
    "unfreeze.prefix": ("FrozenPrefix",),
    "unfreeze.strategies": ("BlockInfo", "Decision", "Strategy"),
    "unfreeze.strategies.adaptive": ("Adaptive",),
    "unfreeze.strategies.early_gradual": ("EarlyGradual",),
    "unfreeze.strategies.fixed": ("Fixed", "Phase"),
    "unfreeze.strategies.head_only": ("HeadOnly",),
    "unfreeze.strategies.none": ("NoFreezing",),
    "unfreeze.strategies.progressive": ("Progressive",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Adaptive",
    "Anatomy",
    "BlockInfo",
    "Decision",
    "EarlyGradual",
    "EpochRecord",
    "Fixed",
    "Freezer",
    "FrozenPrefix",
    "HeadOnly",
    "History",
    "NoFreezing",
    "ParamStatus",
    "Part",
    "Phase",
    "Progressive",
    "Strategy",
    "Transition",
    "dissect",
    "unwrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
