"""Folds BatchNorm into the convolution before it, where that changes nothing but rounding.

In evaluation mode BatchNorm is one multiplication and one addition per channel, which the convolution's
weight and bias can take over (Jacob et al., https://arxiv.org/abs/1712.05877, section 3.2). A layer that is
shared, hooked or of a class with a forward pass of its own is left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def fold(model: nn.Module, parts: Mapping[str, Collection[str]]) -> list[str]:
    """Fold, in place, every BatchNorm that directly follows a convolution in the same part.

    Directly: they are neighbours in an ``nn.Sequential`` that runs its children in order and does nothing
    else (also where the convolution is the last layer of a Sequential inside it: Conv2Plus1D). The BatchNorm
    becomes an ``nn.Identity``, so no name is lost.

    Args:
        parts: for each part that may change, the names of its modules. A convolution and a BatchNorm in two
            parts are left alone, as a boundary can come to lie between them.

    Returns:
        Names of the BatchNorms that are gone.
    """
    home = {name: part for part, names in parts.items() for name in names}
    names = {id(module): name for name, module in model.named_modules()}
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    uses.update(id(tensor) for _, tensor in model.named_parameters(remove_duplicate=False))
    uses.update(id(tensor) for _, tensor in model.named_buffers(remove_duplicate=False))

    def alone(module: nn.Module) -> bool:
        return uses[id(module)] == 1 and all(uses[id(tensor)] == 1 for tensor in _tensors(module))

    found: dict[
        str, tuple[nn.Module, nn.Module]
    ] = {}  # by the name of the BatchNorm: a chain inside another is met twice
    for above in model.modules():
        for first, second in pairwise(_layers(above, alone) if is_chain(above) else ()):
            part = home.get(names[id(first)])
            together = part is not None and home.get(names[id(second)]) == part
            if together and alone(first) and alone(second) and fits(first, second):
                found[names[id(second)]] = first, second
    for name, (conv, norm) in found.items():
        assert isinstance(conv, _ConvNd)
        assert isinstance(norm, _BatchNorm)
        _absorb(conv, norm)
        parent, _, key = name.rpartition(".")
        model.get_submodule(parent)._modules[key] = nn.Identity().eval()
    return list(found)


def is_plain(module: nn.Module, *classes: type[nn.Module]) -> bool:
    """Whether a module computes just what one of ``classes`` computes, with nothing hooked onto it."""
    kind = type(module)
    return (
        any(isinstance(module, cls) and kind.forward is cls.forward for cls in classes)
        and kind.__call__ is nn.Module.__call__
        and "forward" not in vars(module)
        and not any(getattr(module, hooks, None) for hooks in _HOOKS)
    )


def is_plain_convolution(module: nn.Module) -> bool:
    """A Conv1d, Conv2d or Conv3d (or a subclass that only constructs it) whose weight is a parameter as it
    stands: neither normalised nor parametrised.
    """
    return (
        is_plain(module, *_CONVOLUTIONS)
        and any(type(module)._conv_forward is cls._conv_forward for cls in _CONVOLUTIONS)  # type: ignore[attr-defined]
        and module._parameters.get("weight") is not None
        and "bias" in module._parameters
    )


def is_chain(module: nn.Module) -> bool:
    """A Sequential, or a subclass that only constructs one."""
    return is_plain(module, nn.Sequential) and type(module).__iter__ is nn.Sequential.__iter__  # type: ignore[attr-defined]


def fits(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether ``norm`` after ``conv`` is a fixed scale and shift of its channels."""
    return (
        is_plain_convolution(conv)
        and is_plain(norm, _BatchNorm, nn.SyncBatchNorm)
        # without running statistics it normalises by those of the batch, in evaluation mode too
        and norm._buffers.get("running_mean") is not None
        and norm._buffers.get("running_var") is not None
        and norm.num_features == conv.out_channels
        # a convolution in another floating type would take over rounded statistics
        and all(t.dtype == conv.weight.dtype for t in _tensors(norm) if t.is_floating_point())
    )


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is not None:
            yield tensor


def _layers(chain: nn.Module, alone: Callable[[nn.Module], bool]) -> Iterator[nn.Module]:
    """The layers of a chain as they run; chains inside it that nobody else uses or watches are opened."""
    for child in chain._modules.values():
        if child is None:
            continue
        if is_chain(child) and alone(child):
            yield from _layers(child, alone)
        else:
            yield child


@torch.no_grad()
def _absorb(conv: _ConvNd, norm: _BatchNorm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # in double precision, so that each weight is rounded once
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    weight = conv.weight.double() * scale.reshape(-1, *[1] * (conv.weight.ndim - 1))
    dtype = conv.weight.dtype
    conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    conv.bias = nn.Parameter(shift.to(dtype), requires_grad=False)
