"""What the user asked for: ``--balance`` and its companions, per task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from unfreeze.options import nearest

if TYPE_CHECKING:
    from unfreeze.training.config import TrainConfig

# In this order wherever several are named; `none` is the absence of all.
METHODS = ("weights", "effective_number", "sampler", "focal", "logit_adjustment")
NONE = "none"
Strength = Literal["full", "sqrt", "log"]


@dataclass(frozen=True)
class Balance:
    """The remedies of a run.

    Attributes:
        methods: task -> its remedies, as in ``METHODS``; empty where there is none.
        strength: how far ``weights`` and ``sampler`` go from the class counts to equal classes.
        cap: the most that a class weight may be, where the average clip weighs 1.
        gamma, beta, tau: of ``focal``, ``effective_number`` and ``logit_adjustment``; see there.
    """

    methods: Mapping[str, tuple[str, ...]]
    strength: Strength = "full"
    cap: float = 10.0
    gamma: float = 2.0
    beta: float = 0.999
    tau: float = 1.0

    def tasks_with(self, method: str) -> tuple[str, ...]:
        """The tasks that use ``method``."""
        return tuple(task for task, methods in self.methods.items() if method in methods)


def plan_balance(config: TrainConfig, tasks: Iterable[str]) -> Balance:
    """The remedies that the flags ask for.

    Raises:
        ValueError: see ``parse_balance``.
    """
    return Balance(
        parse_balance(config.balance, tuple(tasks)),
        strength=config.balance_strength,
        cap=config.balance_cap,
        gamma=config.focal_gamma,
        beta=config.balance_beta,
        tau=config.balance_tau,
    )


def parse_balance(words: Sequence[str], tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``("weights", "object=none")`` as ``{"motion": ("weights",), "object": ()}``.

    A word without a task is for all tasks that have no word of their own. Several remedies of one task are
    joined by ``+``.

    Raises:
        ValueError: no such method or task (the message has the nearest), or a task is named twice.
    """
    by_task = check_words(words)
    unknown = [task for task in by_task if task is not None and task not in tasks]
    if unknown:
        raise ValueError(
            f"--balance: no task {unknown[0]!r}{nearest(unknown[0], tasks)} (tasks: {', '.join(tasks)})"
        )
    of_the_rest = by_task.get(None, ())
    return {task: by_task.get(task, of_the_rest) for task in tasks}


def check_words(words: Sequence[str]) -> dict[str | None, tuple[str, ...]]:
    """What is wrong with the words of ``--balance`` can be said before the tasks are known.

    Returns:
        The remedies by task; those of all other tasks under None.

    Raises:
        ValueError: see ``parse_balance``.
    """
    by_task: dict[str | None, tuple[str, ...]] = {}
    for word in words:
        # a task may have a "=" in its name, a method has none
        task, equals, joined = word.rpartition("=")
        methods = _methods(word, joined)
        key = task if equals else None
        if key in by_task:
            whose = f"task {task!r} has two words" if equals else "there are two words for all tasks"
            raise ValueError(f"--balance: {whose}; join remedies with +, as in weights+sampler")
        by_task[key] = methods
    return by_task


def _methods(word: str, joined: str) -> tuple[str, ...]:
    named = [name.strip() for name in joined.split("+")]
    for name in named:
        if name not in (NONE, *METHODS):
            known = (NONE, *METHODS)
            raise ValueError(
                f"--balance {word}: no method {name!r}{nearest(name, known)} (methods: {', '.join(known)})"
            )
    if NONE in named and len(named) > 1:
        raise ValueError(f"--balance {word}: none cannot be joined with a remedy; leave one of them out")
    if len(set(named)) < len(named):
        raise ValueError(f"--balance {word}: a remedy is named twice; name it once")
    return tuple(method for method in METHODS if method in named)
