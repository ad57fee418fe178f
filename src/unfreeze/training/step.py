"""One optimizer step, from its batches to new weights; what is counted and shown of it is others' affair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unfreeze.data.loader import Batch
from unfreeze.training.assembly import Assembly
from unfreeze.training.config import TrainConfig
from unfreeze.training.losses import Criterion, count_labelled, mean_over_tasks
from unfreeze.training.mixing import Mix, Mixing, mixed
from unfreeze.training.precision import autocast


@dataclass(frozen=True)
class Stepper:
    """Takes optimizer steps.

    Attributes:
        made: the model and what trains it.
        criterion: the training loss of every task.
        mixing: how batches are mixed.
    """

    config: TrainConfig
    device: torch.device
    made: Assembly
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
            logits = self._forward(batch, mix)
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

    def _forward(self, batch: Batch, mix: Mix | None) -> dict[str, Tensor]:
        """Logits per task, (B, classes), of the clips of a batch as ``mix`` has them."""
        video, mask = batch["video"].to(self.device, non_blocking=True), batch["view_mask"]
        padded = not bool(mask.all())  # asked on the CPU, so that no GPU has to be waited for
        inputs = (video, mask.to(self.device)) if padded else (video,)
        if mix is not None:
            inputs = (mix.video(*inputs), *inputs[1:])
        with autocast(self.device, self.config.precision):
            logits: dict[str, Tensor] = self.made.parallel(*inputs)
        return logits
