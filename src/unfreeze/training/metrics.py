"""Metrics per task, and their means over tasks under plain names."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_average_precision,
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_recall,
)

from unfreeze.history import Mode
from unfreeze.options import nearest
from unfreeze.training.losses import known

METRICS = ("loss", "accuracy", "balanced_accuracy", "macro_f1")
MULTILABEL_METRICS = (*METRICS, "mAP")


def classification_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1 accuracy, balanced accuracy and macro F1 of one single-label task.

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
    has_label = known(labels)
    logits, labels = logits[has_label], labels[has_label]
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


def multilabel_metrics(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """The same three of one multi-label task, and the mean average precision. A class is predicted above 0.5.

    - accuracy: the share of clips of which every class is right (``multilabel_exact_match``);
    - balanced accuracy: of each class the mean of recall and specificity, and of these the mean over the
      classes that occur in ``labels``; a class that every clip has counts with its recall alone;
    - macro F1: the mean over the classes that occur in ``labels`` or in the predictions;
    - mAP: the mean over the classes that occur in ``labels`` of ``binary_average_precision``.

    Args:
        probabilities: (N, classes).
        labels: (N, classes) of 0 and 1; rows of -1 are masked and ignored.

    Returns:
        The four by name; NaN where no label is left, and where there is no class to take the mean over.
    """
    has_label = known(labels)
    probabilities, truth = probabilities[has_label], labels[has_label] == 1
    if not len(truth):
        return dict.fromkeys(MULTILABEL_METRICS[1:], math.nan)
    # torchmetrics' multilabel functions know no task of a single class, and let classes that never occur
    # count as 0; these are the definitions themselves
    said = probabilities > 0.5
    hits, has, called = ((part.sum(0).double()) for part in (truth & said, truth, said))
    occurs = has > 0
    f1 = 2 * hits / (has + called)
    precisions = [
        float(binary_average_precision(probabilities[:, index], truth[:, index].long()))
        for index in occurs.nonzero()[:, 0].tolist()
    ]
    return {
        "accuracy": float((truth == said).all(dim=1).double().mean()),
        "balanced_accuracy": float(binary_balanced_accuracy(truth, said)[occurs].mean()),
        "macro_f1": float(f1[has + called > 0].mean()),
        "mAP": math.fsum(precisions) / len(precisions) if precisions else math.nan,
    }


def binary_balanced_accuracy(truth: Tensor, said: Tensor) -> Tensor:
    """The mean of recall and specificity of each class, (classes,); where one is undefined, the other.

    Args:
        truth, said: (N, classes) bool, N at least 1.
    """
    has, lacks = truth.sum(0).double(), (~truth).sum(0).double()
    sides = torch.stack([(truth & said).sum(0) / has, (~truth & ~said).sum(0) / lacks])
    return sides.nanmean(dim=0)


def with_means(by_task: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """``{"accuracy": mean over tasks, …, "<task>/accuracy": …}``; a mean with a NaN is NaN.

    A metric that not every task has, has no mean.
    """
    if not by_task:
        return {}
    first, *others = by_task.values()
    names = [name for name in first if all(name in values for values in others)]
    means = {name: math.fsum(values[name] for values in by_task.values()) / len(by_task) for name in names}
    return means | {
        f"{task}/{name}": value for task, values in by_task.items() for name, value in values.items()
    }


def check_monitor(monitor: str, tasks: Sequence[str], multilabel: Collection[str] = ()) -> Mode:
    """The mode of a monitored metric: ``min`` for a loss, else ``max``.

    Args:
        multilabel: those of ``tasks`` that are multi-label, and have an mAP.

    Raises:
        ValueError: no metric has that name; the message has the nearest one.
    """
    means = MULTILABEL_METRICS if tasks and all(task in multilabel for task in tasks) else METRICS
    names = [f"val/{name}" for name in means]
    for task in tasks:
        names += [f"val/{task}/{name}" for name in (MULTILABEL_METRICS if task in multilabel else METRICS)]
    if monitor not in names:
        raise ValueError(
            f"--monitor: no metric {monitor!r}{nearest(monitor, names)} (metrics: {', '.join(names)})"
        )
    return "min" if monitor.rpartition("/")[2] == "loss" else "max"
