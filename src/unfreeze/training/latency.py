"""How long a clip takes, measured while something else is done with the batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unfreeze.data.loader import Batch
from unfreeze.training.device import synchronise


class Latency(nn.Module):
    """Runs as ``model`` does, and takes the time of it; ``track`` takes that of whole batches.

    A clip is what the data set calls one, with all its views, moments and crops. The time of a batch is
    shared equally by its clips, so it depends on the size of the batch, which ``summary`` names.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self.device = device
        self._forward: list[float] = []  # seconds of each batch
        self._whole: list[float] = []
        self._clips: list[int] = []

    def forward(self, *inputs: Tensor) -> Any:
        began = self._now()
        out = self.model(*inputs)
        self._forward.append(self._now() - began)
        return out

    def track(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; the time of one is from asking for it until the next one is asked for."""
        began = self._now()
        for batch in batches:
            yield batch
            ended = self._now()
            self._whole.append(ended - began)
            self._clips.append(len(batch["index"]))
            began = ended

    def summary(self) -> dict[str, Any]:
        """Milliseconds per clip, median and 95th percentile over batches, in the types of JSON.

        The first of several batches does not count: workers start and kernels are chosen in it.
        """
        first = 1 if len(self._whole) > 1 else 0
        clips = np.asarray(self._clips[first:])
        return {
            "batch_size": max(self._clips, default=0),
            "batches": len(clips),
            "device": self.device.type,
            "model_ms_per_clip": _spread(1000 * np.asarray(self._forward[first:]) / clips),
            "end_to_end_ms_per_clip": _spread(1000 * np.asarray(self._whole[first:]) / clips),
        }

    def _now(self) -> float:
        synchronise(self.device)
        return time.perf_counter()


def _spread(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    return {"median": float(np.median(values)), "p95": float(np.quantile(values, 0.95))}
