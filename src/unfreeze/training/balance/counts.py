"""How often each class occurs among the training clips, as the choices that a head has to make.

A single-label head makes one choice among its classes. A multi-label head makes one per class, between not
having it and having it. So counts, and the weights made of them, are (choices, options): (1, classes) for
single-label, (classes, 2) for multi-label tasks, and a remedy needs to know of one choice only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unfreeze.data.manifest import Manifest, indices_of

Floats = NDArray[np.float64]


def training_counts(manifest: Manifest, task: str, clip_weights: Floats | None = None) -> Floats:
    """Labelled training clips per choice and option: (1, classes), or (classes, 2) for a multi-label task.

    Args:
        clip_weights: what each training clip counts for, (clips,); None is 1 each.
    """
    samples = manifest.split("train")
    weights = np.ones(len(samples)) if clip_weights is None else clip_weights
    of_class = np.zeros(len(manifest.tasks[task]))
    labelled = 0.0
    for sample, weight in zip(samples, weights, strict=True):
        label = sample.labels.get(task)
        if label is not None:  # that no class applies is a label, too
            labelled += weight
            of_class[list(indices_of(label))] += weight
    if task in manifest.multilabel:
        return np.stack([labelled - of_class, of_class], axis=1)
    return of_class[None]


def at_least_one(counts: Floats) -> Floats:
    """Counts as a formula can bear them: a class without a training clip is taken to have a single one."""
    return np.maximum(counts, 1.0)
