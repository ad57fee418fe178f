"""From a batch to its logits."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze.data.batch import Batch, padded_video
from unfreeze.training.mixing import Mix
from unfreeze.training.precision import autocast

Ready = Generator[Batch, None, None]
Watch = Callable[[Iterable[Any]], Iterable[Any]]


class Forward:
    """Runs a model over the clips of a batch.

    Attributes:
        model: what is called: the model, or a wrapper around it.
    """

    def __init__(self, model: nn.Module, device: torch.device, precision: str = "fp32") -> None:
        self.model = model
        self.device = device
        self.precision = precision

    def over(self, batches: Iterable[Batch], watch: Watch = iter) -> Ready:
        """The batches of an epoch, made ready to be called with, in their order; to be closed.

        Args:
            watch: wraps the source; what is spent in it is time spent waiting for data.
        """
        yield from watch(batches)

    def __call__(self, batch: Batch, mix: Mix | None = None) -> dict[str, Tensor]:
        """Logits per task, (B * K, classes), of the clips of a batch as ``mix`` has them."""
        inputs = self._inputs(batch, mix)
        with autocast(self.device, self.precision):
            logits: dict[str, Tensor] = self.model(*inputs)
        return logits

    def _inputs(self, batch: Batch, mix: Mix | None) -> tuple[Tensor, ...]:
        """What the model is given: the clips, and which views there are where some are padding."""
        video, mask = padded_video(batch).to(self.device, non_blocking=True), batch["view_mask"]
        padded = not bool(mask.all())  # asked on the CPU, so that no GPU has to be waited for
        inputs = (video, mask.to(self.device)) if padded else (video,)
        if mix is not None:
            inputs = (mix.video(*inputs), *inputs[1:])
        return inputs
