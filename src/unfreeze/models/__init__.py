"""Backbones by name, their weights, and heads for the user's tasks."""

from unfreeze.models.build import build_model
from unfreeze.models.classifier import VideoClassifier
from unfreeze.models.registry import model_names

__all__ = ["VideoClassifier", "build_model", "model_names"]
