"""Measure what each block of a model costs: hooks say when it is done, one pass counts, some are timed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from unfreeze.anatomy import Anatomy, unwrap
from unfreeze.prefix.costs import Profile

__all__ = ["Profile", "profile"]

_SECONDS = 0.5  # of timed passes: once they have taken as long, there is no other
_PASSES = 5  # at most

T = TypeVar("T")


def profile(model: nn.Module, anatomy: Anatomy, /, *args: Any, **kwargs: Any) -> Profile:
    """Forward seconds and FLOPs of each block and the bytes of the activation behind it, per row.

    The model runs a few times in evaluation mode and without gradients, under the caller's autocast; its
    modes, its hooks and the state of the generators are as before. What runs between two blocks counts to the
    later one, what runs after the last block to the entry behind it. Of timed passes the fastest counts,
    block by block; the one that counts FLOPs goes before and warms up. A block that never runs takes nothing,
    and behind it is what was there before it.

    Args:
        model: wrapped or not, on the device of its inputs. Compiled parts run eagerly here.
        args: as for the model. Rows are the length of the first tensor; of clips in several views (six
            dimensions) those that arrive at the first block.

    Raises:
        ValueError: there is no tensor among the inputs.
    """
    model = unwrap(model)
    inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim]
    if not inputs:
        raise ValueError("a profile needs the model's inputs: there is no tensor among them")
    blocks = [[model.get_submodule(name) for name in part.roots] for part in anatomy.blocks]
    device = next((p.device for p in model.parameters()), inputs[0].device)
    clock = _Clock(device)

    def call() -> None:
        model(*args, **kwargs)

    with _undisturbed(model, device):
        flops, sizes, entered = _count(call, blocks)
        times = [_durations(call, blocks, clock)]
        while len(times) < _PASSES and sum(map(sum, times)) < _SECONDS:
            times.append(_durations(call, blocks, clock))

    rows = entered if inputs[0].ndim == 6 and entered else len(inputs[0])
    return Profile(
        seconds=tuple(min(each) / rows for each in zip(*times, strict=True)),
        flops=tuple(round(count / rows) for count in flops),
        nbytes=(0, *(-(-size // rows) for size in sizes)),
    )


def _count(
    call: Callable[[], None], blocks: Sequence[Sequence[nn.Module]]
) -> tuple[list[int], list[int], int]:
    """FLOPs of each block, bytes of the activation behind it, and rows that arrive at the first to run."""
    sizes: list[int | None] = [None] * len(blocks)
    entered: list[int] = []

    def look(block: int, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        sizes[block] = sum(leaf.nbytes for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
        if not entered:
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim]
            entered.extend(len(tensor) for tensor in tensors[:1])

    # fused attention has no formula in the counter on every device; its plain form is made of products
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            marks = _marks(call, blocks, counter.get_total_flops, look)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    known, before = [], 0
    for size in sizes:
        before = before if size is None else size
        known.append(before)
    return [int(count) for count in _gaps(marks, lambda a, b: b - a)[:-1]], known, sum(entered)


def _durations(call: Callable[[], None], blocks: Sequence[Sequence[nn.Module]], clock: _Clock) -> list[float]:
    marks = _marks(call, blocks, clock.now)
    clock.wait()
    return _gaps(marks, clock.between)


def _marks(
    call: Callable[[], None],
    blocks: Sequence[Sequence[nn.Module]],
    stamp: Callable[[], T],
    look: Callable[[int, Any, Mapping[str, Any], Any], None] | None = None,
) -> tuple[T, list[T | None], T]:
    """Stamps of the start, of when each block was done for the last time (None: never), and of the end."""
    done: list[T | None] = [None] * len(blocks)

    def hook(block: int) -> Callable[..., None]:
        def mark(module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
            done[block] = stamp()
            if look is not None:
                look(block, args, kwargs, output)

        return mark

    with contextlib.ExitStack() as stack:
        for block, roots in enumerate(blocks):
            for module in (called for root in roots for called in _called(root)):
                handle = module.register_forward_hook(hook(block), with_kwargs=True)
                stack.callback(handle.remove)
        start = stamp()
        call()
        return start, done, stamp()


def _gaps(marks: tuple[T, list[T | None], T], between: Callable[[T, T], float]) -> list[float]:
    """What lies between a mark and the latest before it, for each block and for the end."""
    latest, done, end = marks
    gaps = []
    for mark in (*done, end):
        gap = 0.0 if mark is None else between(latest, mark)
        gaps.append(max(gap, 0.0))
        if mark is not None and gap > 0:
            latest = mark
    return gaps


def _called(root: nn.Module) -> Iterator[nn.Module]:
    """The module itself, or what a mere list of modules has in it: a list is never called."""
    if isinstance(root, (nn.ModuleList, nn.ModuleDict)):
        for child in root.children():
            yield from _called(child)
    else:
        yield root


class _Clock:
    """Stamps of a device's time. On CUDA they are taken when the device gets there, so that nothing waits."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> Any:
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            return event
        self.wait()
        return time.perf_counter()

    def wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()

    def between(self, start: Any, end: Any) -> float:
        """Seconds; after ``wait``."""
        return start.elapsed_time(end) / 1000 if self._device.type == "cuda" else end - start


@contextlib.contextmanager
def _undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode, no gradients, no compiled code; afterwards everything is as before."""
    modes = [(module, module.training) for module in model.modules()]
    compiled = any(
        getattr(module, "_compiled_call_impl", None) is not None or "_orig_mod" in module._modules
        for module, _ in modes
    )
    devices = [device] if device.type == "cuda" else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(torch.no_grad())
        if compiled:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for module, _ in modes:
                # the flag alone: eval() of some modules does more, such as merging weights
                module.training = False
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            # weights that autocast has cast without gradients must not be met again with gradients
            torch.clear_autocast_cache()
