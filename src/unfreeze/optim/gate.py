"""What an optimizer sees while it steps, and only then.

Outside of ``optimizer.step()`` the optimizer looks as if nothing were ever frozen: the same groups with the
same parameters from the first step to the last. That is what schedulers, ``GradScaler``, ``zero_grad`` and
``state_dict`` look at, so none of them can notice a transition. Inside the step, and only there,

- frozen parameters are absent: neither a stale gradient nor weight decay nor an optimizer that fills missing
  gradients with zeros (``torch.optim.Muon`` does, and then decays) can move them;
- learning rates are multiplied by a factor per parameter. A factor that lives inside the step composes with
  every scheduler, also with those that compute the next learning rate from the current one.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Container, Mapping
from typing import Any

import torch
from torch.optim import Optimizer


class StepGate:
    """Stands around ``optimizer.step``.

    Attributes:
        frozen: ids of the parameters that the step must not see.
        scales: learning-rate factor by parameter id.
        default_scale: the factor of parameters that ``scales`` does not name.
        before: called before each step, with True where the gradients are there already (no closure
            computes them).
        after: called after each step, with the same flag.

    Raises:
        TypeError, ValueError: see ``check_optimizer``.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.frozen: Container[int] = frozenset()
        self.scales: Mapping[int, float] = {}
        self.default_scale = 1.0
        self.before: Callable[[bool], None] | None = None
        self.after: Callable[[bool], None] | None = None
        self._groups: list[dict[str, Any]] | None = None
        self._saved: list[tuple[dict[str, Any], list[torch.Tensor], Any, Any]] = []
        self._paused = False
        self._handles = [
            optimizer.register_step_pre_hook(self._enter),
            optimizer.register_step_post_hook(self._leave),
            # a checkpoint that is saved from within a step (a closure, a signal) must hold the whole truth
            optimizer.register_state_dict_pre_hook(self._pause),
            optimizer.register_state_dict_post_hook(self._go_on),
            optimizer.register_load_state_dict_pre_hook(lambda _, __: self.restore()),
        ]
        self._restore_if_it_raises()

    def remove(self) -> None:
        """Take the gate away: from now on the optimizer steps as it would have without it."""
        self.restore()
        for handle in self._handles:
            handle.remove()

    def restore(self) -> None:
        """Give the optimizer back its groups; nothing happens outside of a step."""
        if self._groups is not None:
            self.optimizer.param_groups = self._groups
            self._groups = None
        for group, params, lr, used in self._saved:
            group["params"] = params
            if group["lr"] is used:
                group["lr"] = lr
        self._saved = []

    def _enter(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.restore()
        if self.before is not None:
            self.before(_closure(args, kwargs) is None)
        self._close()

    def _close(self) -> None:
        extra: list[dict[str, Any]] = []
        for group in self.optimizer.param_groups:
            params, lr = group["params"], group["lr"]
            by_scale: dict[float, list[torch.Tensor]] = {}
            for parameter in params:
                if id(parameter) not in self.frozen:
                    scale = self.scales.get(id(parameter), self.default_scale)
                    by_scale.setdefault(scale, []).append(parameter)
            (scale, seen), *others = by_scale.items() or [(1.0, [])]
            if scale == 1.0 and len(seen) == len(params):
                continue
            # members with different factors (a user put everything into one group) part for the length of
            # the step
            extra += [{**group, "params": members, "lr": lr * factor} for factor, members in others]
            # a learning rate may be a tensor (capturable optimizers): use another, put the same object back
            used = lr if scale == 1.0 else lr * scale
            self._saved.append((group, params, lr, used))
            group["params"], group["lr"] = seen, used
        # An optimizer takes its time for each group, so those without a visible member are left out; but the
        # first stays, as some optimizers keep in it what all groups share.
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        visible = [group for number, group in enumerate(groups) if number == 0 or group["params"]]
        if extra or len(visible) < len(groups):
            self._groups = groups
            self.optimizer.param_groups = [*visible, *extra]

    def _leave(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.restore()
        if self.after is not None:
            self.after(_closure(args, kwargs) is None)

    def _pause(self, _: Optimizer) -> None:
        self._paused = bool(self._saved)
        self.restore()

    def _go_on(self, _: Optimizer, __: dict[str, Any]) -> None:
        if self._paused:
            self._paused = False
            self._close()

    def _restore_if_it_raises(self) -> None:
        """Post-hooks do not run after an exception, so the step itself gets a ``finally``."""
        step = self.optimizer.step

        # wraps() also carries the mark by which schedulers know a step that they already count
        @functools.wraps(step)
        def guarded(_: Optimizer, *args: Any, **kwargs: Any) -> Any:
            try:
                return step(*args, **kwargs)
            finally:
                self.restore()

        # a bound method, because schedulers unpack it with __func__
        self.optimizer.step = types.MethodType(guarded, self.optimizer)  # type: ignore[method-assign]


def check_optimizer(optimizer: Any) -> None:
    """Whether a gate can stand around this optimizer.

    Raises:
        TypeError: the object has no hooks around its step, so it is not a ``torch.optim.Optimizer``.
        ValueError: LBFGS, which keeps one flat direction over all parameters: none can be taken out.
    """
    # a wrapper that poses as an optimizer without being initialised as one may have some of the hooks
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_state_dict_pre_hooks")
    if not isinstance(optimizer, Optimizer) or not all(hasattr(optimizer, name) for name in hooks):
        kind = type(optimizer).__name__
        raise TypeError(f"expected a torch.optim.Optimizer, not {kind}; if it wraps one, hand over that one")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("LBFGS treats all parameters as one vector, so blocks cannot be frozen under it")


def _closure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The closure of ``step``; hooks get the optimizer itself as the first positional argument."""
    return kwargs.get("closure", args[1] if len(args) > 1 else None)
