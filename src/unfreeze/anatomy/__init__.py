"""What a model is made of: its heads, and its backbone as blocks ordered from input to output."""

from unfreeze.anatomy.dissect import dissect
from unfreeze.anatomy.types import Anatomy, Part
from unfreeze.anatomy.unwrap import unwrap

__all__ = ["Anatomy", "Part", "dissect", "unwrap"]
