"""Learning-rate schedulers by name: every class of ``torch.optim.lr_scheduler``, and SWALR.

Each has a friendly name (``cosine``) and the name of its class in lower case (``cosineannealinglr``); both
mean the same. What a class asks for is derived from the length of the run; anything can be said explicitly
with the class's own arguments. A scheduler is stepped after every epoch, ``onecycle`` and ``cyclic`` after
every optimizer step; ``interval: step`` or ``interval: epoch`` chooses otherwise, and lengths (``T_max``,
``total_iters`` …) count in that interval.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch.optim import Optimizer, lr_scheduler
from torch.optim.swa_utils import SWALR

from unfreeze.history import Mode
from unfreeze.optim.arguments import call, check_arguments
from unfreeze.options import nearest

Interval = Literal["step", "epoch"]


class Schedule:
    """A scheduler together with when to step it.

    Attributes:
        scheduler: the ``torch.optim.lr_scheduler`` object, for ``Freezer.attach``.
        interval: ``"step"`` or ``"epoch"``.
    """

    def __init__(self, scheduler: lr_scheduler.LRScheduler, interval: Interval) -> None:
        self.scheduler = scheduler
        self.interval = interval

    def step_batch(self) -> None:
        """Call after every optimizer step (not after every batch where gradients are accumulated)."""
        if self.interval == "step":
            self.scheduler.step()

    def step_epoch(self, metric: float | None = None) -> None:
        """Call after every epoch, with the monitored metric.

        Raises:
            ValueError: ``plateau`` was given no metric.
        """
        if self.interval != "epoch":
            return
        if not isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step()
        elif metric is None:
            raise ValueError("the plateau scheduler needs a metric after every epoch")
        elif math.isnan(metric):
            # NaN compares as "no better": it would lower the learning rate and say nothing
            warnings.warn(
                "the monitored metric is NaN; the plateau scheduler leaves this epoch out", stacklevel=2
            )
        else:
            self.scheduler.step(metric)

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's state."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``, which stays as it is."""
        self.scheduler.load_state_dict(dict(state))


class NoSchedule:
    """The learning rate stays what it is; answers to the same calls as ``Schedule``."""

    scheduler = None
    interval: Interval = "epoch"

    def step_batch(self) -> None:
        """Nothing."""

    def step_epoch(self, metric: float | None = None) -> None:
        """Nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""


class Factors:
    """Factors by position of the scheduler, the last one for good: what ``LambdaLR`` calls a lambda."""

    def __init__(self, factors: Sequence[float]) -> None:
        self.factors = list(factors)

    def __call__(self, position: int) -> float:
        return self.factors[min(position, len(self.factors) - 1)]


@dataclass(frozen=True)
class _Clock:
    """How long a scheduler runs, in its own interval."""

    length: int
    epoch: int  # the length of one epoch
    metric_mode: Mode
    optimizer: Optimizer
    base_lrs: tuple[float, ...]  # as they were before any member of a composition touched them

    def lrs(self, factor: float = 1.0) -> list[float]:
        return [lr * factor for lr in self.base_lrs]

    @property
    def cycles_momentum(self) -> bool:
        return bool({"momentum", "betas"} & self.optimizer.defaults.keys())


@dataclass(frozen=True)
class _Entry:
    make: Callable[..., lr_scheduler.LRScheduler]
    defaults: Callable[[_Clock], dict[str, Any]]
    interval: Interval = "epoch"


def _lambda(optimizer: Optimizer, factors: Sequence[float]) -> lr_scheduler.LRScheduler:
    return lr_scheduler.LambdaLR(optimizer, Factors(factors))


def _multiplicative(optimizer: Optimizer, factors: Sequence[float]) -> lr_scheduler.LRScheduler:
    # MultiplicativeLR asks for its first factor at step 1
    return lr_scheduler.MultiplicativeLR(optimizer, Factors([1.0, *factors]))


_ENTRIES: dict[tuple[str, str], _Entry] = {
    ("cosine", "CosineAnnealingLR"): _Entry(lr_scheduler.CosineAnnealingLR, lambda c: {"T_max": c.length}),
    ("cosine_restarts", "CosineAnnealingWarmRestarts"): _Entry(
        lr_scheduler.CosineAnnealingWarmRestarts, lambda c: {"T_0": max(1, math.ceil(c.length / 3))}
    ),
    ("onecycle", "OneCycleLR"): _Entry(
        lr_scheduler.OneCycleLR,
        lambda c: {"max_lr": c.lrs(), "total_steps": c.length, "cycle_momentum": c.cycles_momentum},
        "step",
    ),
    # half a cycle of 2 epochs is at the lower end of what Smith, "Cyclical Learning Rates", 2017, recommends
    ("cyclic", "CyclicLR"): _Entry(
        lr_scheduler.CyclicLR,
        lambda c: {
            "base_lr": c.lrs(0.1),
            "max_lr": c.lrs(),
            "step_size_up": max(1, min(2 * c.epoch, c.length // 2)),
            "cycle_momentum": c.cycles_momentum,
        },
        "step",
    ),
    ("step", "StepLR"): _Entry(lr_scheduler.StepLR, lambda c: {"step_size": max(1, math.ceil(c.length / 3))}),
    ("multistep", "MultiStepLR"): _Entry(
        lr_scheduler.MultiStepLR,
        lambda c: {"milestones": [math.ceil(c.length * 0.6), math.ceil(c.length * 0.85)]},
    ),
    ("exponential", "ExponentialLR"): _Entry(
        lr_scheduler.ExponentialLR, lambda c: {"gamma": 0.01 ** (1 / max(1, c.length))}
    ),
    ("linear", "LinearLR"): _Entry(
        lr_scheduler.LinearLR, lambda c: {"start_factor": 1.0, "end_factor": 0.0, "total_iters": c.length}
    ),
    ("constant", "ConstantLR"): _Entry(lr_scheduler.ConstantLR, lambda c: {"factor": 1.0}),
    ("polynomial", "PolynomialLR"): _Entry(lr_scheduler.PolynomialLR, lambda c: {"total_iters": c.length}),
    ("plateau", "ReduceLROnPlateau"): _Entry(
        lr_scheduler.ReduceLROnPlateau, lambda c: {"mode": c.metric_mode, "patience": max(1, c.length // 10)}
    ),
    ("lambda", "LambdaLR"): _Entry(_lambda, lambda c: {}),
    ("multiplicative", "MultiplicativeLR"): _Entry(_multiplicative, lambda c: {}),
    ("swa", "SWALR"): _Entry(
        SWALR, lambda c: {"swa_lr": c.lrs(0.5), "anneal_epochs": min(10 * c.epoch, c.length)}
    ),
}
_BY_NAME = {name.lower(): entry for names, entry in _ENTRIES.items() for name in names}
_NESTED = {
    "sequential": "sequential",
    "sequentiallr": "sequential",
    "chained": "chained",
    "chainedscheduler": "chained",
}
_NAMES = ("none", *(friendly for friendly, _ in _ENTRIES), "sequential", "chained")


def schedulers() -> tuple[str, ...]:
    """The friendly names that ``build_scheduler`` takes, sorted; class names in lower case are taken too."""
    return tuple(sorted(_NAMES))


def build_scheduler(
    name: str,
    optimizer: Optimizer,
    *,
    epochs: int,
    steps_per_epoch: int,
    metric_mode: Mode = "max",
    **extra: Any,
) -> Schedule | NoSchedule:
    """The scheduler called ``name`` for a run of ``epochs``.

    ``linear`` falls to 0 over the run and ``constant`` keeps the learning rate unless ``extra`` says
    otherwise. ``lambda`` takes ``factors``, the factor on the initial learning rate in the first, second …
    epoch, the last one for good; ``multiplicative`` takes ``factors`` that multiply the current one after
    the first, second … epoch. ``sequential`` takes ``schedulers``, a list of ``{name: …, …}``, and
    ``milestones``, the epochs at which the next one takes over; ``chained`` takes ``schedulers`` alone.

    Args:
        steps_per_epoch: optimizer steps (not batches) in an epoch.
        metric_mode: whether the metric that ``plateau`` watches is to be maximised or minimised.
        extra: arguments of the class, and ``interval``.

    Raises:
        ValueError: an unknown name or argument (the message has the nearest one), or a value that does not
            fit.
    """
    if epochs < 1 or steps_per_epoch < 1:
        raise ValueError(
            f"a schedule needs at least one epoch of one step, not {epochs} of {steps_per_epoch}"
        )
    if name.lower() == "none":
        if extra:
            raise ValueError(f"scheduler 'none' takes no arguments, not {', '.join(sorted(extra))}")
        return NoSchedule()
    interval = _interval(name, extra)
    epoch = steps_per_epoch if interval == "step" else 1
    base_lrs = tuple(float(group["lr"]) for group in optimizer.param_groups)
    scheduler = _build(name, extra, _Clock(epochs * epoch, epoch, metric_mode, optimizer, base_lrs))
    return Schedule(scheduler, interval)


def _known(name: Any) -> str:
    key = str(name).lower()
    if key not in _BY_NAME and key not in _NESTED:
        hint = nearest(key, [*_NAMES, *_BY_NAME])
        raise ValueError(f"unknown scheduler {name!r}{hint} (known: {', '.join(schedulers())})")
    return _NESTED.get(key, key)


def _interval(name: Any, extra: Mapping[str, Any]) -> Interval:
    """When to step: as said, else as the class needs; a composition steps as often as any member needs."""
    key, said = _known(name), extra.get("interval")
    if said not in (None, "step", "epoch"):
        raise ValueError(f"scheduler {name!r}: interval must be step or epoch, not {said!r}")
    if said is not None:
        if said == "step" and _plateau(key):
            raise ValueError(
                "scheduler 'plateau' watches a metric that is there once an epoch; interval must be epoch"
            )
        return said
    if key in ("sequential", "chained"):
        members = [_interval(one["name"], one) for one in _members(key, extra)]
        return "step" if "step" in members else "epoch"
    return _BY_NAME[key].interval


def _members(key: str, extra: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    members = extra.get("schedulers")
    fits = isinstance(members, (list, tuple)) and members
    if not fits or not all(isinstance(one, Mapping) and "name" in one for one in members or ()):
        raise ValueError(f"scheduler {key!r} needs schedulers: a list of {{name: …, further arguments}}")
    for one in members or ():
        if _plateau(_known(one["name"])):
            raise ValueError(f"scheduler {key!r} cannot contain plateau, which needs a metric")
        if "interval" in one:
            raise ValueError(
                f"scheduler {key!r}: say interval for the whole, not for its member {one['name']!r}"
            )
    return list(members or ())


def _plateau(key: str) -> bool:
    return key in ("plateau", "reducelronplateau")


def _build(name: Any, extra: Mapping[str, Any], clock: _Clock) -> lr_scheduler.LRScheduler:
    key = _known(name)
    what = f"scheduler {key!r}"
    arguments = {k: v for k, v in extra.items() if k not in ("interval", "name")}
    if key in ("sequential", "chained"):
        return _compose(key, what, arguments, clock)
    entry = _BY_NAME[key]
    check_arguments(what, entry.make, arguments, also=("interval",))
    if entry.make in (_lambda, _multiplicative):
        _check_factors(what, arguments)
    if "milestones" in arguments:
        _check_milestones(what, arguments["milestones"])
    for length in ("T_max", "T_0", "step_size", "step_size_up", "step_size_down", "total_steps"):
        # torch divides by these, some of them only when it comes to the first step
        if arguments.get(length, 1) < 1:
            raise ValueError(f"{what}: {length} must be at least 1, not {arguments[length]!r}")
    arguments = {**entry.defaults(clock), **arguments}
    if arguments.get("total_steps") is not None and arguments["total_steps"] < clock.length:
        raise ValueError(
            f"{what}: total_steps {arguments['total_steps']} ends before the run, which takes {clock.length}"
        )
    scheduler: lr_scheduler.LRScheduler = call(what, entry.make, clock.optimizer, **arguments)
    return scheduler


def _check_factors(what: str, arguments: Mapping[str, Any]) -> None:
    factors = arguments.get("factors")
    numbers = isinstance(factors, (list, tuple)) and all(
        isinstance(factor, (int, float)) for factor in factors
    )
    if not numbers or not factors:
        raise ValueError(f"{what} needs factors: a list of numbers, one an epoch, not {factors!r}")


def _check_milestones(what: str, milestones: Any, count: int | None = None) -> None:
    whole = isinstance(milestones, (list, tuple)) and all(
        isinstance(at, int) and not isinstance(at, bool) and at > 0 for at in milestones
    )
    if not whole or sorted(set(milestones)) != list(milestones) or count not in (None, len(milestones)):
        wanted = "rising whole numbers" if count is None else f"{count} rising epochs"
        raise ValueError(f"{what} needs milestones: {wanted}, not {milestones!r}")


def _compose(key: str, what: str, arguments: dict[str, Any], clock: _Clock) -> lr_scheduler.LRScheduler:
    members = _members(key, arguments)
    known = ("schedulers", "milestones") if key == "sequential" else ("schedulers",)
    for unknown in arguments.keys() - set(known):
        hint = nearest(unknown, known)
        raise ValueError(f"{what} has no argument {unknown!r}{hint} (known: {', '.join(known)}, interval)")
    if key == "chained":
        inner = [_build(one["name"], one, clock) for one in members]
        return call(what, lr_scheduler.ChainedScheduler, inner)
    milestones = arguments.get("milestones", ())
    _check_milestones(what, milestones, count=len(members) - 1)
    edges = [0, *(at * clock.epoch for at in milestones), clock.length]
    inner = []
    for one, start, end in zip(members, edges[:-1], edges[1:], strict=True):
        inner.append(_build(one["name"], one, replace(clock, length=max(1, end - start))))
    return call(what, lr_scheduler.SequentialLR, clock.optimizer, inner, edges[1:-1])
