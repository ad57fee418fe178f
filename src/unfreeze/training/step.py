"""One optimizer step, from its batches to new weights; what is counted and shown of it is others' affair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unfreeze.data.loader import Batch
from unfreeze.training.assembly import Assembly
from unfreeze.training.config import TrainConfig
from unfreeze.training.forward import Forward
from unfreeze.training.losses import Criterion, count_labelled, mean_over_tasks
from unfreeze.training.mixing import Mixing, mixed


@dataclass(frozen=True)
class Stepper:
    """Takes optimizer steps.

    Attributes:
        made: the model and what trains it.
        forward: from batches to logits.
        criterion: the training loss of every task.
        mixing: how batches are mixed.
    """

    config: TrainConfig
    device: torch.device
    made: Assembly
    forward: Forward
    criterion: Criterion
    mixing: Mixing

    def backward(
        self, window: Sequence[Batch], epoch: int, step: int, weights: Mapping[str, float] | None
    ) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
        """Add up the gradients of the batches of a step; each batch with its summed loss per task.

        Args:
            epoch, step: from 1; they decide how batches are mixed.
            weights: per task, see ``mean_over_tasks``.
        """
        counts = count_labelled(batch["labels"] for batch in window)
        for number, batch in enumerate(window):
            # the labels of a batch are mixed among its clips, so that they count as before
            mix = self.mixing.draw(epoch, step, len(batch["index"]), first=number)
            logits = self.forward(batch, mix)
            labels = {task: of_task.to(self.device) for task, of_task in batch["labels"].items()}
            sums = self.criterion.sums(logits, labels)
            if mix is not None:
                sums = mixed(sums, self.criterion.sums(logits, mix.labels(labels)), mix.share)
            yield batch, sums
            self.made.scaler.scale(mean_over_tasks(sums, counts, weights)).backward()

    def update(self) -> bool:
        """Take the step; False where fp16 leaves it out, because gradients overflowed."""
        scaler, optimizer = self.made.scaler, self.made.optimizer
        if self.config.clip_grad_norm is not None:
            scaler.unscale_(optimizer)
            with_gradients = [p for p in self.made.model.parameters() if p.grad is not None]
            nn.utils.clip_grad_norm_(with_gradients, self.config.clip_grad_norm)
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return scaler.get_scale() >= scale
