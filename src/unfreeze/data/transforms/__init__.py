"""From decoded frames to what a model takes, with torchvision's v2 transforms.

They see all frames of a clip as one batch of pictures (T, C, H, W), so one random draw holds for all of them.
"""

from unfreeze.data.transforms.evaluation import EvaluationTransform
from unfreeze.data.transforms.frames import shrink, training_side
from unfreeze.data.transforms.presets import PRESETS, Augment, Preset, draw_speed, flips
from unfreeze.data.transforms.swaps import Swaps, check_swaps, direction_like, swap_labels, transform_label
from unfreeze.data.transforms.training import TrainingTransform

__all__ = [
    "PRESETS",
    "Augment",
    "EvaluationTransform",
    "Preset",
    "Swaps",
    "TrainingTransform",
    "check_swaps",
    "direction_like",
    "draw_speed",
    "flips",
    "shrink",
    "swap_labels",
    "training_side",
    "transform_label",
]
