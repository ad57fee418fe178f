"""A model while parts of it are answered for: stopped at the boundary, or gone on with from there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from unfreeze.anatomy.unwrap import inner_attribute
from unfreeze.prefix.activations import CutError, Layout
from unfreeze.prefix.trail import CALL, FORWARD, Stop, own_call, owns_state, places, replaced


class Alone(BaseException):
    """A frozen module was about to be called with a single row."""


class Slot:
    """Stands for a frozen module: gives recorded answers, then calls the module, and stops after a call."""

    def __init__(self, own: Callable[..., Any], stop_after: int | None = None, refusal: str = "") -> None:
        self.own = own
        self.stop_after = stop_after
        self.refusal = refusal
        self.answers: Sequence[Any] = ()
        self.calls = 0

    def call(self, *args: Any, **kwargs: Any) -> Any:
        at = self.calls
        self.calls = at + 1
        if at < len(self.answers):
            return self.answers[at]
        if self.refusal:
            raise CutError(self.refusal)
        value = self.own(*args, **kwargs)
        if self.stop_after == at + 1:
            raise Stop(value)
        return value


class Host:
    """A model whose frozen modules can be answered for. Modules are looked up once, at the start.

    Args:
        outer: the model as it is called, with its wrappers.
        model: the same without wrappers.
    """

    def __init__(self, outer: nn.Module, model: nn.Module) -> None:
        self.outer, self.model = outer, model
        self._modules = list(outer.modules())

    @contextmanager
    def still(self) -> Iterator[None]:
        """Without gradients and in evaluation mode; the flags are put back."""
        # the flags alone: train() is the frozen modules' own, and of some models it does more
        training = [own for module in self._modules if (own := vars(module)).get("training")]
        # weights that are cast without gradients must not be found by who needs their gradients
        cached = torch.is_autocast_cache_enabled()
        try:
            for own in training:
                own["training"] = False
            torch.set_autocast_cache_enabled(False)
            # tensors made in inference mode could not be saved for a backward pass later
            with torch.inference_mode(False), torch.no_grad():
                yield
        finally:
            torch.set_autocast_cache_enabled(cached)
            for own in training:
                own["training"] = True

    def compiled(self, around: Sequence[nn.Module] | None = None) -> list[tuple[nn.Module, Any]]:
        """Modules that went through ``torch.compile``, with what calls them uncompiled.

        Args:
            around: only those that hold one of these modules, but are none of them.
        """
        found = []
        for module in self._modules:
            wraps = inner_attribute(module) == "_orig_mod"
            if not wraps and getattr(module, CALL, None) is None:
                continue
            if around is None or (
                not any(module is inner for inner in around)
                and any(inner is below for below in module.modules() for inner in around)
            ):
                found.append((module, module._orig_mod if wraps else module._call_impl))
        return found

    @contextmanager
    def uncompiled(self) -> Iterator[None]:
        with replaced(CALL, self.compiled()):
            yield


class Prefix:
    """The frozen part of a host, up to the last call of a layout's trail.

    Args:
        lower: the layout of a lower boundary; calls of its trail are not made, as what they return is given.
    """

    def __init__(self, host: Host, layout: Layout, lower: Layout | None = None) -> None:
        self._host = host
        names = [answer.module for answer in layout.trail]
        self._places = places([answer.module for answer in lower.trail] if lower else [])
        self._places.setdefault(names[-1], [])
        modules = {name: host.model.get_submodule(name) for name in {names[0], *self._places}}
        self._slots = {
            name: Slot(own_call(modules[name]), names.count(name) if name == names[-1] else None)
            for name in self._places
        }
        self._uncompiled = host.compiled(around=list(modules.values()))
        self._calls = [(modules[name], slot.call) for name, slot in self._slots.items()]
        self._first = modules[names[0]]
        self._last = names[-1]

    def run(self, args: Any, kwargs: Any, values: Sequence[Any] = (), *, watch: bool = False) -> Any:
        """What the last call of the trail returns.

        Args:
            values: what the answered calls return.
            watch: look at the first call for a batch of a single row.

        Raises:
            Alone: there is one, and nothing has been computed yet.
        """
        try:
            with ExitStack() as stack:
                for name, slot in self._slots.items():
                    slot.answers, slot.calls = [values[at] for at in self._places[name]], 0
                stack.enter_context(replaced(CALL, (*self._uncompiled, *self._calls)))
                if watch:
                    own = own_call(self._first)
                    stack.enter_context(replaced(CALL, [(self._first, functools.partial(_not_alone, own))]))
                self._host.model(*args, **kwargs)
        except Stop as stop:
            return stop.value
        finally:
            for slot in self._slots.values():
                slot.answers = ()
        raise CutError(f"the model did not reach {self._last} with these inputs")


def _not_alone(own: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    tensors = (value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor) and value.ndim)
    first = next(tensors, None)
    if first is not None and first.shape[0] == 1:
        raise Alone
    return own(*args, **kwargs)


class Suffix:
    """The rest of a host: all that follows the last call of a layout's trail.

    Args:
        block: name of the last frozen block, for errors.
    """

    def __init__(self, host: Host, layout: Layout, block: str) -> None:
        self._host = host
        self._places = places([answer.module for answer in layout.trail])
        modules = {name: host.model.get_submodule(name) for name in self._places}
        self.compiled = host.compiled(around=list(modules.values()))
        # torch.compile looks at forward, past the place where an ordinary call looks first
        self._attribute = FORWARD if self.compiled else CALL
        self._slots = {
            name: Slot(
                module.forward if self.compiled else own_call(module),
                refusal=f"cannot cut behind {block}: {name} is frozen, but runs again behind it"
                if owns_state(module)
                else "",
            )
            for name, module in modules.items()
        }
        self._calls = [(modules[name], slot.call) for name, slot in self._slots.items()]

    def run(self, args: Any, kwargs: Any, values: Sequence[Any]) -> Any:
        """The model's output, where the calls of the trail return ``values``."""
        for name, slot in self._slots.items():
            slot.answers, slot.calls = [values[at] for at in self._places[name]], 0
        try:
            with replaced(self._attribute, self._calls):
                return self._host.outer(*args, **kwargs)
        finally:
            for slot in self._slots.values():
                slot.answers = ()
