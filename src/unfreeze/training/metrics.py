"""Metrics per task, and their means over tasks under plain names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_recall,
)

from unfreeze.history import Mode
from unfreeze.options import nearest
from unfreeze.training.losses import MASKED

METRICS = ("loss", "accuracy", "balanced_accuracy", "macro_f1")


def classification_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1 accuracy, balanced accuracy and macro F1 of one task.

    Balanced accuracy is the mean recall of the classes that occur in ``labels``: a class that never occurs
    has no recall and is left out, also where it was predicted. Macro F1 is the mean over the classes that
    occur in ``labels`` or in the predictions, so that a class predicted in vain counts as 0. Both as
    scikit-learn has them.

    Args:
        logits: (N, classes), or probabilities.
        labels: (N,), whole numbers; -1 is masked and ignored.

    Returns:
        The three by name; NaN where no label is left.
    """
    known = labels != MASKED
    logits, labels = logits[known], labels[known]
    if not len(labels):
        return dict.fromkeys(METRICS[1:], math.nan)
    classes = logits.shape[1]
    if classes == 1:  # torchmetrics knows no task of a single class, in which nobody can be wrong
        return dict.fromkeys(METRICS[1:], 1.0)
    occurs = torch.bincount(labels, minlength=classes) > 0
    recall = multiclass_recall(logits, labels, num_classes=classes, average=None)
    return {
        "accuracy": float(multiclass_accuracy(logits, labels, num_classes=classes, average="micro")),
        "balanced_accuracy": float(recall[occurs].double().mean()),
        "macro_f1": float(multiclass_f1_score(logits, labels, num_classes=classes, average="macro")),
    }


def with_means(by_task: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """``{"accuracy": mean over tasks, …, "<task>/accuracy": …}``; a mean with a NaN is NaN."""
    if not by_task:
        return {}
    names = list(next(iter(by_task.values())))
    means = {name: math.fsum(values[name] for values in by_task.values()) / len(by_task) for name in names}
    return means | {f"{task}/{name}": values[name] for task, values in by_task.items() for name in names}


def check_monitor(monitor: str, tasks: Sequence[str]) -> Mode:
    """The mode of a monitored metric: ``min`` for a loss, else ``max``.

    Raises:
        ValueError: no metric has that name; the message has the nearest one.
    """
    known = [f"val/{name}" for name in METRICS] + [f"val/{task}/{name}" for task in tasks for name in METRICS]
    if monitor not in known:
        raise ValueError(
            f"--monitor: no metric {monitor!r}{nearest(monitor, known)} (metrics: {', '.join(known)})"
        )
    return "min" if monitor.rpartition("/")[2] == "loss" else "max"
