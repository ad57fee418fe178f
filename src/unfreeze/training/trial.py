"""Measurements on a few clips: what autograd keeps of them, and how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze.data import ClipDataset
from unfreeze.data.dataset import Item
from unfreeze.data.loader import Batch
from unfreeze.models import VideoClassifier
from unfreeze.optim import build_optimizer
from unfreeze.training.config import TrainConfig
from unfreeze.training.device import synchronise
from unfreeze.training.precision import autocast

_SECONDS = 1.5  # per measurement, about
_REPEATS = 8  # at most


@dataclass(frozen=True)
class Trial:
    """Of all clips together: seconds of a step and of a forward pass, and bytes that autograd saves."""

    step: float
    forward: float
    saved: int


def try_clips(model: VideoClassifier, clips: Batch, precision: str) -> Trial:
    """Train and evaluate on the clips of a batch; the weights stay."""
    device = next(model.parameters()).device
    video, mask = clips["video"].to(device), clips["view_mask"].to(device)

    def loss() -> Tensor:
        with autocast(device, precision):
            logits = model(video, mask)
        # any loss will do that needs every logit
        return torch.stack([of_task.float().logsumexp(-1).sum() for of_task in logits.values()]).sum()

    def step() -> None:
        loss().backward()
        model.zero_grad(set_to_none=True)

    def forward() -> None:
        with torch.no_grad():
            loss()

    model.train()
    saved = saved_bytes(loss, model, video)
    step_seconds = _timed(step, device)
    model.eval()
    return Trial(step_seconds, _timed(forward, device), saved)


def saved_bytes(forward: Callable[[], Any], model: nn.Module, *inputs: Tensor) -> int:
    """Bytes that autograd keeps of ``forward()`` for the backward pass, beside the model and ``inputs``."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers(), *inputs)}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()  # alive to the end, so that no address is used twice
    del result
    return sum(kept.values())


def _timed(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of one call, the fastest of a few, after one that warms up."""
    times: list[float] = []
    work()
    until = time.perf_counter() + _SECONDS
    while len(times) < 2 or (len(times) < _REPEATS and time.perf_counter() < until):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - started)
    return min(times)


def timed_items(dataset: ClipDataset, count: int) -> tuple[float, list[Item]]:
    """Seconds in which an item is made, on average over a few, evenly spread; and the first ``count``."""
    chosen = [round(i * (len(dataset) - 1) / (_REPEATS - 1)) for i in range(_REPEATS)]
    items: list[Item] = []
    started = time.perf_counter()
    for index in dict.fromkeys(chosen):
        items.append(dataset[1, index])
        if len(items) >= count and time.perf_counter() - started > _SECONDS:
            break
    return (time.perf_counter() - started) / len(items), items[:count]


def state_per_weight(config: TrainConfig) -> float:
    """How much the optimizer keeps of a weight, in sizes of the weight; of a stand-in, after a step."""
    weight = nn.Parameter(torch.zeros(64, 64))
    optimizer = build_optimizer(
        config.optimizer, [weight], lr=1e-3, weight_decay=None, **(config.optimizer_args or {})
    )
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    kept = [t for t in _tensors(optimizer.state.values()) if t.numel() > 1]
    return sum(t.numel() * t.element_size() for t in kept) / (weight.numel() * weight.element_size())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif not isinstance(value, str) and isinstance(value, Iterable):
        for item in value:
            yield from _tensors(item)
