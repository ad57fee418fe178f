"""The frozen part as an inference graph: the same function but for rounding, computed faster."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze.anatomy import Anatomy, unwrap
from unfreeze.prefix.activations import Activations
from unfreeze.prefix.fold import fold, is_plain_convolution

_RECOMPILATIONS = 256


def inference_copy(
    model: nn.Module,
    anatomy: Anatomy,
    boundary: int,
    *,
    channels_last: bool = True,
    compiled: bool = False,
    backend: str | Callable[..., Any] = "inductor",
) -> nn.Module:
    """A copy of the model whose blocks before ``boundary`` are made for inference, to be the ``runner`` of a
    ``FrozenPrefix``.

    The frozen blocks are copied: their BatchNorms are folded into the convolutions before them, their
    parameters want no gradient, and later changes of the model's do not reach them (make a new copy then).
    Everything behind them has modules of its own but shares its tensors with the model, so it takes no
    memory. The whole copy is in evaluation mode; modes held by a ``train`` on an instance are let go. The
    model itself is not touched.

    Args:
        model: also inside DataParallel, DistributedDataParallel and ``torch.compile``.
        anatomy: of this model.
        boundary: number of frozen blocks, 1 to ``len(anatomy.blocks)``.
        channels_last: convolutions over volumes compute with the channels innermost in memory, where they
            need not reorder what they read and write, and tokens are read off without a copy.
        compiled: each root of a frozen block goes through ``torch.compile`` by itself, at its first call.
            Copies of the copy, also by pickle, are uncompiled.
        backend: of ``torch.compile``.

    Raises:
        ValueError: the boundary is none of the model's, or the model holds something that cannot be copied.
    """
    model = unwrap(model)
    if not 1 <= boundary <= len(anatomy.blocks):
        raise ValueError(f"the boundary is 1 to {len(anatomy.blocks)}, not {boundary}")
    frozen = anatomy.blocks[:boundary]
    own = {name for part in frozen for name in (*part.parameters, *part.buffers)}
    twin = _copy(model, own)
    with torch.no_grad():
        for name, tensor in _tensors(twin):
            if name in own:
                tensor.requires_grad_(False)
    fold(twin, {part.name: part.modules for part in frozen})
    if channels_last:
        _put_channels_last(twin, {name for part in frozen for name in part.modules})
    if compiled:
        for root in (twin.get_submodule(name) for part in frozen for name in part.roots):
            _compile(root, backend)
    return twin


def difference(plain: Activations, fast: Activations) -> float:
    """How far the activations of an inference graph are from those of the model: the largest |a - b| of a
    leaf relative to its largest |a|, over all leaves. Infinite where they cannot be compared (other shapes,
    NaN).
    """
    if len(plain.leaves) != len(fast.leaves):
        return float("inf")
    return max((_difference(a, b) for a, b in zip(plain.leaves, fast.leaves, strict=True)), default=0.0)


def _difference(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    if a.numel() == 0 or torch.equal(a, b):
        return 0.0
    if not (a.is_floating_point() and b.is_floating_point()):
        return float("inf")
    a, b = a.double(), b.double()
    ratio = float((a - b).abs().max() / a.abs().max())
    return ratio if ratio == ratio else float("inf")


def _copy(model: nn.Module, own: set[str]) -> nn.Module:
    """A copy in evaluation mode; the tensors named in ``own`` are its own, the others the model's."""
    copied = {id(tensor) for name, tensor in _tensors(model) if name in own}
    memo: dict[int, Any] = {id(tensor): tensor for _, tensor in _tensors(model) if id(tensor) not in copied}
    memo.update((id(hook), hook) for hook in _foreign_hooks(model))
    try:
        twin = copy.deepcopy(model, memo)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"{type(model).__name__} cannot be copied for inference: {reason}") from error
    twin.eval()
    for module in twin.modules():
        # frozen mode is held by a `train` on the instance, which nobody needs in what never trains
        vars(module).pop("train", None)
        module.training = False
    return twin


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _foreign_hooks(model: nn.Module) -> Iterator[Any]:
    """Forward hooks that are methods of something that is no module: copying them would copy all that it
    holds (a recorder of activations, an optimizer).
    """
    for module in model.modules():
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
            owner = getattr(hook, "__self__", None)
            if owner is not None and not isinstance(owner, nn.Module):
                yield hook


def _compile(root: nn.Module, backend: str | Callable[..., Any]) -> None:
    options: dict[str, Any] = {}
    if "recompile_limit" in inspect.signature(torch.compile).parameters:
        # blocks of one class count as recompilations of one function, of which there are few by default: the
        # others would run uncompiled
        options["recompile_limit"] = _RECOMPILATIONS
    root.compile(backend=backend, **options)


def _put_channels_last(model: nn.Module, names: set[str]) -> None:
    for name, module in model.named_modules():
        if name in names and isinstance(module, nn.Conv3d) and is_plain_convolution(module):
            # not contiguous(): it leaves kernels of 1 x 1 x 1 as they are, which fit both orders. Then their
            # input would choose the order, and the bits would depend on where an activation came from.
            weight = torch.empty_like(module.weight, memory_format=torch.channels_last_3d)
            module.weight = nn.Parameter(weight.copy_(module.weight.detach()), requires_grad=False)
