"""Frozen mode of a model's parts: no gradients, no gradient buffers, and evaluation mode that holds.

``model.train()`` walks over all modules, and so would undo the evaluation mode of a frozen BatchNorm, dropout
or stochastic depth at the start of every epoch. So each module of a frozen part gets a ``train`` of its
own, on the instance: it leaves the module as it is and passes the call on to its children. It is a
``functools.partial`` over an importable function, which ``copy.deepcopy`` binds to the copy and which
pickles.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from torch import nn

from unfreeze.anatomy import Part
from unfreeze.parameters import can_train


def stay_in_eval(module: nn.Module, mode: bool = True, *, previous: Any = None) -> nn.Module:
    """What ``module.train`` is while the module is frozen: its children hear of it, the module itself stays.

    Args:
        previous: a ``train`` that the instance had of its own before; it is put back on release.
    """
    for child in module.children():
        child.train(mode)
    return module


def is_held(module: nn.Module) -> bool:
    """Whether the module is kept in evaluation mode."""
    train = vars(module).get("train")
    return isinstance(train, functools.partial) and train.func is stay_in_eval


def hold(model: nn.Module, part: Part) -> None:
    """Put all modules of ``part`` in evaluation mode and keep them there."""
    modules = [model.get_submodule(name) for name in part.modules]
    if any(not is_held(module) for module in modules):
        for name in part.roots:
            # through eval() first, for modules that do more than setting a flag
            model.get_submodule(name).eval()
    for module in modules:
        if not is_held(module):
            # past __setattr__: a compiled module would hand the attribute on to what it wraps
            own = vars(module).get("train")
            vars(module)["train"] = functools.partial(stay_in_eval, module, previous=own)
        if module.training:
            module.training = False


def release(model: nn.Module, part: Part) -> None:
    """Let all modules of ``part`` go, into the mode that the modules above them are in."""
    held = [module for name in part.modules if is_held(module := model.get_submodule(name))]
    for module in held:
        previous = vars(module).pop("train").keywords["previous"]
        if previous is not None:
            vars(module)["train"] = previous
    if held:
        for name in part.roots:
            model.get_submodule(name).train(_mode_above(model, name))


def _mode_above(model: nn.Module, name: str) -> bool:
    """The mode of the nearest module above that is not itself held in evaluation mode."""
    while name:
        name = name.rpartition(".")[0]
        above = model.get_submodule(name)
        if not is_held(above):
            return above.training
    return model.training


def set_trainable(parameters: Iterable[nn.Parameter], trainable: bool) -> None:
    """Switch gradients on or off, and drop the gradients of parameters that are off."""
    for parameter in parameters:
        if can_train(parameter):
            parameter.requires_grad_(trainable)
        if not trainable:
            parameter.grad = None


def is_compiled(model: nn.Module) -> bool:
    """Whether the model, a wrapper around it or a module inside it went through ``torch.compile``."""
    return any(
        "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )
