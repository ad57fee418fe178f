"""The loss: cross entropy per task, the mean over tasks.

Labels of -1 are masked. The mean of a task is taken over the labelled clips of a whole optimizer step, so
cutting a step into several batches (gradient accumulation) changes nothing but memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

MASKED = -1


def count_labelled(labels: Iterable[Mapping[str, Tensor]]) -> dict[str, int]:
    """The number of labelled clips per task, over several batches of labels (B,)."""
    counts: dict[str, int] = {}
    for batch in labels:
        for task, of_task in batch.items():
            counts[task] = counts.get(task, 0) + int((of_task != MASKED).sum())
    return counts


def summed_losses(
    logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], label_smoothing: float = 0.0
) -> dict[str, Tensor]:
    """The cross entropy of each task, summed over the labelled clips of a batch; 0 where all are masked.

    Args:
        logits: per task, (B, classes); computed in float32 whatever their type.
        labels: per task, (B,), whole numbers; -1 is masked.
    """
    return {
        task: F.cross_entropy(
            logits[task].float(),
            of_task,
            ignore_index=MASKED,
            label_smoothing=label_smoothing,
            reduction="sum",
        )
        for task, of_task in labels.items()
    }


def mean_over_tasks(sums: Mapping[str, Tensor], counts: Mapping[str, int]) -> Tensor:
    """The mean over tasks of the mean over labelled clips; a task without any contributes 0.

    Args:
        sums: per task, the summed loss of (a part of) a step.
        counts: per task, the labelled clips of the whole step.
    """
    return torch.stack([total / max(counts[task], 1) for task, total in sums.items()]).mean()
