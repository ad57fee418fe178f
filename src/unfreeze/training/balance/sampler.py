"""Draws rare classes more often: clips are drawn with replacement, each with a probability of its own.

Random oversampling, as in Buda et al., "A systematic study of the class imbalance problem in convolutional
neural networks", Neural Networks 2018, for several heads at once. An epoch stays as long as it was;
``data.order`` draws, the same on every rank.

The rule: a head that uses the sampler gives every clip the weight of its class; of a multi-label clip it is
the mean over the classes that it has. These are scaled so that the average clip weighs 1, and capped. A clip
that the head has no class for, be it masked or of no class, weighs 1. A clip is drawn in proportion to the
mean over those heads.
"""

from __future__ import annotations

import numpy as np

from unfreeze.data.manifest import Manifest, indices_of
from unfreeze.training.balance.class_weights import mean_one
from unfreeze.training.balance.counts import Floats, training_counts
from unfreeze.training.balance.flags import Balance
from unfreeze.training.balance.weights import inverse_frequency


def sample_weights(balance: Balance, manifest: Manifest) -> Floats | None:
    """How often each training clip is drawn, relative to the others, (clips,); None where no head asks."""
    tasks = balance.tasks_with("sampler")
    if not tasks:
        return None
    return np.mean([_of_head(balance, manifest, task) for task in tasks], axis=0)


def _of_head(balance: Balance, manifest: Manifest, task: str) -> Floats:
    counts = training_counts(manifest, task)
    of_class = inverse_frequency(counts[:, 1] if task in manifest.multilabel else counts[0], balance.strength)
    classes = [list(indices_of(sample.labels.get(task))) for sample in manifest.split("train")]
    some = np.array([bool(indices) for indices in classes], dtype=bool)
    raw = np.array([of_class[indices].mean() for indices in classes if indices])
    weights = np.ones(len(classes))
    weights[some] = mean_one(raw, np.ones(len(raw)), balance.cap)
    return weights
