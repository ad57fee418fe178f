"""The loss: cross entropy per task, the mean over tasks.

A single-label task has labels (B,), class indices, -1 where masked; its loss is the cross entropy. A
multi-label task has labels (B, classes) of 0 and 1, all -1 where masked; its loss is the mean over classes of
the binary cross entropy. The mean of a task is taken over the labelled clips of a whole optimizer step, so
cutting a step into several batches (gradient accumulation) changes nothing but memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from unfreeze.data.manifest import MASKED
from unfreeze.training.balance.class_weights import loss_weights
from unfreeze.training.balance.counts import training_counts
from unfreeze.training.balance.focal import focal_factor
from unfreeze.training.balance.logit_adjustment import log_prior

if TYPE_CHECKING:
    from unfreeze.data.manifest import Manifest
    from unfreeze.training.balance.flags import Balance


def known(labels: Tensor) -> Tensor:
    """Which clips have a label: (B,) bool, for labels (B,) or, of a multi-label task, (B, classes)."""
    return labels != MASKED if labels.ndim == 1 else (labels != MASKED).all(dim=1)


def count_labelled(labels: Iterable[Mapping[str, Tensor]]) -> dict[str, int]:
    """The number of labelled clips per task, over several batches of labels."""
    counts: dict[str, int] = {}
    for batch in labels:
        for task, of_task in batch.items():
            counts[task] = counts.get(task, 0) + int(known(of_task).sum())
    return counts


@dataclass
class HeadLoss:
    """The training loss of one head; as it is by default, the plain cross entropy.

    Every remedy is a factor on the loss of a clip, or a term on its logits, so label smoothing and the other
    remedies go with it. The factors are 1 on average over the training clips (focal loss apart), so the sum
    over a batch is for dividing by its labelled clips, with weights as without.

    Attributes:
        label_smoothing: the share of the target that is spread evenly over the options.
        weights: factors by class (1, classes); of a multi-label head (classes, 2), for not having the class
            and for having it.
        offsets: what is added to the logits, (classes,).
        gamma: of the focal loss; None is none.
    """

    label_smoothing: float = 0.0
    weights: Tensor | None = None
    offsets: Tensor | None = None
    gamma: float | None = None

    def sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss summed over the labelled clips of a batch, 0-dim float32; 0 where all are masked.

        Args:
            logits: (B, classes); computed in float32 whatever their type.
            labels: (B,), or (B, classes) of a multi-label task.
        """
        logits = logits.float()
        if self.offsets is not None:
            self.offsets = self.offsets.to(logits.device)
            logits = logits + self.offsets
        if self.weights is not None:
            self.weights = self.weights.to(logits.device)
        return self._one_of_many(logits, labels) if labels.ndim == 1 else self._yes_or_no(logits, labels)

    def _one_of_many(self, logits: Tensor, labels: Tensor) -> Tensor:
        plain = self.weights is None and self.gamma is None
        losses = F.cross_entropy(
            logits,
            labels,
            ignore_index=MASKED,
            label_smoothing=self.label_smoothing,
            reduction="sum" if plain else "none",
        )
        if plain:
            return losses
        # a masked clip has loss 0 already; whatever it is multiplied by needs only be a number
        target = labels.clamp(min=0)
        if self.weights is not None:
            losses = losses * self.weights[0, target]
        if self.gamma is not None:
            log_probability = logits.log_softmax(dim=1).gather(1, target[:, None])[:, 0]
            losses = losses * focal_factor(log_probability, self.gamma)
        return losses.sum()

    def _yes_or_no(self, logits: Tensor, labels: Tensor) -> Tensor:
        has = labels == 1
        target = has.float() * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.weights is not None:
            losses = losses * torch.where(has, self.weights[:, 1], self.weights[:, 0])
        if self.gamma is not None:
            losses = losses * focal_factor(F.logsigmoid(torch.where(has, logits, -logits)), self.gamma)
        return (losses.mean(dim=1) * known(labels)).sum()


class Criterion:
    """The training loss of every task.

    Args:
        heads: task -> its loss; a task that is missing has the plain one.
        label_smoothing: of the plain one.
    """

    def __init__(self, heads: Mapping[str, HeadLoss] | None = None, label_smoothing: float = 0.0) -> None:
        self.heads = dict(heads or {})
        self.plain = HeadLoss(label_smoothing)

    def sums(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss of each task, summed over the labelled clips of a batch; 0 where all are masked.

        Args:
            logits: per task, (B, classes).
            labels: per task, (B,), or (B, classes) of a multi-label task.
        """
        return {
            task: self.heads.get(task, self.plain).sum(logits[task], of_task)
            for task, of_task in labels.items()
        }


def build_criterion(balance: Balance, manifest: Manifest, label_smoothing: float = 0.0) -> Criterion:
    """The training loss with the remedies of ``balance``, by the class counts of the training clips."""
    heads = {}
    for task, methods in balance.methods.items():
        counts = training_counts(manifest, task)
        weights = loss_weights(balance, task, counts)
        offsets = None
        if "logit_adjustment" in methods:
            prior = log_prior(counts)
            offsets = balance.tau * (prior[:, 1] - prior[:, 0] if task in manifest.multilabel else prior[0])
        heads[task] = HeadLoss(
            label_smoothing,
            weights=None if weights is None else torch.from_numpy(weights).float(),
            offsets=None if offsets is None else torch.from_numpy(offsets).float(),
            gamma=balance.gamma if "focal" in methods else None,
        )
    return Criterion(heads, label_smoothing)


def summed_losses(
    logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], label_smoothing: float = 0.0
) -> dict[str, Tensor]:
    """The cross entropy of each task without any remedy, as evaluation reports it."""
    return Criterion(label_smoothing=label_smoothing).sums(logits, labels)


def mean_over_tasks(
    sums: Mapping[str, Tensor], counts: Mapping[str, float], weights: Mapping[str, float] | None = None
) -> Tensor:
    """The mean over tasks of the mean over labelled clips; a task without any contributes 0.

    Args:
        sums: per task, the summed loss of (a part of) a step.
        counts: per task, the labelled clips of the whole step.
        weights: per task, a factor on its mean, 1 on average (``task_weights``); None is all alike.
    """
    means = {task: total / max(counts[task], 1) for task, total in sums.items()}
    if weights is not None:
        means = {task: mean * weights[task] for task, mean in means.items()}
    return torch.stack(list(means.values())).mean()
