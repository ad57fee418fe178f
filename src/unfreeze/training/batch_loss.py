"""The loss of a batch, mixed with another one or not: sums and what to divide them by, per task."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from unfreeze.training.losses import Criterion, count_labelled
from unfreeze.training.mixing import Mix, mixed


def summed(
    criterion: Criterion, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], mix: Mix | None
) -> dict[str, Tensor]:
    """The training loss of each task, summed over the labelled clips of a batch.

    Args:
        logits: per task, (B, classes), of the clips as ``mix`` made them.
        labels: per task, as in the batch.
    """
    own = criterion.sums(logits, labels)
    return own if mix is None else mixed(own, criterion.sums(logits, mix.labels(labels)), mix.share)


def counted(labels: Mapping[str, Tensor], mix: Mix | None) -> dict[str, float]:
    """The labelled clips of a batch per task; a mixed clip counts by the shares of its labels that it has."""
    own: dict[str, float] = dict(count_labelled([labels]))
    return own if mix is None else mixed(own, dict(count_labelled([mix.labels(labels)])), mix.share)


def added(parts: list[dict[str, float]]) -> dict[str, float]:
    """The counts of all batches of a step."""
    return {task: sum(part[task] for part in parts) for task in parts[0]}
