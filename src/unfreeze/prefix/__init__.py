"""Frozen blocks that cost nothing: the model in two halves, whose first one need not run twice for a clip."""

from unfreeze.prefix.activations import Activations, CutError, Layout, Leaf, placeholder
from unfreeze.prefix.cut import FrozenPrefix

__all__ = ["Activations", "CutError", "FrozenPrefix", "Layout", "Leaf", "placeholder"]
