"""What the activations at a boundary depend on in a model: a digest of its blocks up to there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unfreeze.anatomy import Anatomy, unwrap


def block_digests(model: nn.Module, anatomy: Anatomy, boundary: int) -> tuple[str, ...]:
    """For every i from 0 to ``boundary`` a digest of the first i blocks, weights and buffers.

    The names are in it, and the classes of the modules, as other code on the same weights computes something
    else.

    Args:
        model: wrapped or not.
    """
    model = unwrap(model)
    tensors: dict[str, Tensor] = {}
    tensors |= dict(model.named_parameters(remove_duplicate=False))
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    modules = dict(model.named_modules(remove_duplicate=False))
    hashed = hashlib.sha256(_class(model).encode())
    digests = [hashed.hexdigest()]
    for part in anatomy.blocks[:boundary]:
        for name in part.modules:
            hashed.update(f"{name}: {_class(modules[name])} {modules[name].extra_repr()}\n".encode())
        for name in (*part.parameters, *part.buffers):
            tensor = tensors[name]
            hashed.update(f"{name}: {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            hashed.update(_content(tensor))
        digests.append(hashed.hexdigest())
    return tuple(digests)


def cache_key(parts: Sequence[object]) -> str:
    """A name for what ``parts`` describe together; any other description has another one."""
    return hashlib.sha256(repr([str(part) for part in parts]).encode()).hexdigest()[:32]


def _class(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _content(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes()
