"""Evaluation: one pass over clips, in order, without gradients."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unfreeze.data.loader import Batch
from unfreeze.training.forward import Forward
from unfreeze.training.losses import count_labelled, summed_losses
from unfreeze.training.metrics import classification_metrics, multilabel_metrics, with_means


@dataclass(frozen=True)
class Evaluation:
    """What a model says about N clips, and how right it is.

    ``metrics`` has means over tasks under plain names (``loss``, ``accuracy``, ``balanced_accuracy``,
    ``macro_f1``) and each task's as ``<task>/accuracy``; a task without labelled clips is missing from both.
    The loss is the plain cross entropy, whatever balancing the model was trained with.
    ``probabilities`` are per task (N, classes): they sum to 1 for a single-label task, and each stands for
    itself for a multi-label one. ``labels`` are per task (N,), or (N, classes) of a multi-label one, with -1
    where masked; ``indices`` (N,) the clips' places in their data set, in the order in which the loader gave
    them.
    """

    metrics: Mapping[str, float]
    probabilities: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    indices: Tensor


@torch.no_grad()
def evaluate(
    forward: Forward,
    batches: Iterable[Batch],
    *,
    tasks: Sequence[str],
    multilabel: Collection[str] = (),
) -> Evaluation:
    """Run a model over ``batches`` in evaluation mode, and leave it in the mode that it was in.

    Args:
        forward: from a batch to logits per task, (B * K, classes).
        batches: as a loader gives them, see ``Batch``: ``{"view_mask": (B * K, V), "labels": {task: (B,)},
            "index": (B,), …}``. K copies of a clip (moments and crops) follow each other; what they say is
            averaged, as probabilities.
        tasks: the tasks to evaluate.
        multilabel: those of which a clip may have several classes.

    Raises:
        ValueError: there is no batch.
    """
    was_training = forward.model.training
    forward.model.eval()
    try:
        logits: dict[str, list[Tensor]] = {task: [] for task in tasks}
        labels: dict[str, list[Tensor]] = {task: [] for task in tasks}
        indices: list[Tensor] = []
        with closing(forward.over(batches)) as ready:
            for batch in ready:
                out = forward(batch)
                for task in tasks:
                    copies = len(out[task]) // len(batch["index"])
                    logits[task].append(_averaged(out[task].float().cpu(), copies, task in multilabel))
                    labels[task].append(batch["labels"][task])
                indices.append(batch["index"])
    finally:
        forward.model.train(was_training)
    if not indices:
        raise ValueError("there are no clips to evaluate")
    return _summarise(
        {task: torch.cat(parts) for task, parts in logits.items()},
        {task: torch.cat(parts) for task, parts in labels.items()},
        torch.cat(indices),
        multilabel,
    )


def _averaged(logits: Tensor, copies: int, multilabel: bool) -> Tensor:
    """Logits (B, classes) whose probabilities are the means of those of (B * copies, classes)."""
    if copies == 1:
        return logits
    if multilabel:
        has, lacks = _mean_of_logs(F.logsigmoid(logits), copies), _mean_of_logs(F.logsigmoid(-logits), copies)
        return has - lacks
    return _mean_of_logs(logits.log_softmax(dim=1), copies)


def _mean_of_logs(log_probabilities: Tensor, copies: int) -> Tensor:
    """The logarithm of the mean probability, (B, classes); in logarithms, so that a tiny one stays itself."""
    return log_probabilities.unflatten(0, (-1, copies)).logsumexp(dim=1) - math.log(copies)


def _summarise(
    logits: dict[str, Tensor], labels: dict[str, Tensor], indices: Tensor, multilabel: Collection[str]
) -> Evaluation:
    counts, sums = count_labelled([labels]), summed_losses(logits, labels)
    probabilities = {
        task: values.sigmoid() if task in multilabel else values.softmax(dim=1)
        for task, values in logits.items()
    }
    by_task = {}
    for task in logits:
        if counts[task]:
            measured = (
                multilabel_metrics(probabilities[task], labels[task])
                if task in multilabel
                else classification_metrics(logits[task], labels[task])
            )
            by_task[task] = {"loss": float(sums[task]) / counts[task]} | measured
    return Evaluation(with_means(by_task), probabilities, labels, indices)
