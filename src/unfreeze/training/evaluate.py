"""Evaluation: one pass over clips, in order, without gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze.training.losses import count_labelled, summed_losses
from unfreeze.training.metrics import classification_metrics, with_means
from unfreeze.training.precision import autocast


@dataclass(frozen=True)
class Evaluation:
    """What a model says about N clips, and how right it is.

    ``metrics`` has means over tasks under plain names (``loss``, ``accuracy``, ``balanced_accuracy``,
    ``macro_f1``) and each task's as ``<task>/accuracy``; a task without labelled clips is missing from both.
    ``probabilities`` are per task (N, classes), ``labels`` per task (N,) with -1 where masked, ``indices``
    (N,) the clips' places in their data set, in the order in which the loader gave them.
    """

    metrics: Mapping[str, float]
    probabilities: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    indices: Tensor


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    *,
    tasks: Sequence[str],
    device: torch.device,
    precision: str = "fp32",
) -> Evaluation:
    """Run ``model`` over ``batches`` in evaluation mode, and leave it in the mode that it was in.

    Args:
        model: maps (B, V, C, T, H, W) to logits per task, (B, classes).
        batches: ``{"video": (B, V, C, T, H, W), "labels": {task: (B,)}, "index": (B,)}``.
        tasks: the tasks to evaluate.

    Raises:
        ValueError: there is no batch.
    """
    was_training = model.training
    model.eval()
    try:
        logits: dict[str, list[Tensor]] = {task: [] for task in tasks}
        labels: dict[str, list[Tensor]] = {task: [] for task in tasks}
        indices: list[Tensor] = []
        for batch in batches:
            with autocast(device, precision):
                out = model(batch["video"].to(device, non_blocking=True))
            for task in tasks:
                logits[task].append(out[task].float().cpu())
                labels[task].append(batch["labels"][task])
            indices.append(batch["index"])
    finally:
        model.train(was_training)
    if not indices:
        raise ValueError("there are no clips to evaluate")
    return _summarise(
        {task: torch.cat(parts) for task, parts in logits.items()},
        {task: torch.cat(parts) for task, parts in labels.items()},
        torch.cat(indices),
    )


def _summarise(logits: dict[str, Tensor], labels: dict[str, Tensor], indices: Tensor) -> Evaluation:
    counts, sums = count_labelled([labels]), summed_losses(logits, labels)
    by_task = {
        task: {"loss": float(sums[task]) / counts[task]} | classification_metrics(logits[task], labels[task])
        for task in logits
        if counts[task]
    }
    probabilities = {task: values.softmax(dim=1) for task, values in logits.items()}
    return Evaluation(with_means(by_task), probabilities, labels, indices)
