"""Which strategy the flags select, and whether all of them are its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from unfreeze import strategies
from unfreeze.cli.flags import Flag, Group, flags_of
from unfreeze.options import check_values
from unfreeze.strategies import Strategy

DEFAULT = "early_gradual"

_SELECT = (
    Flag("freezing_strategy", str, DEFAULT, f"{', '.join(strategies.available())} (default: {DEFAULT})"),
    Flag("gradual_finetuning", bool, False, "the same as --freezing_strategy fixed (default: no)"),
)


def strategy_groups() -> tuple[Group, ...]:
    """The flags that select a strategy, then a group of each strategy's own."""
    groups = [Group("freezing", _SELECT)]
    for name in strategies.available():
        cls = strategies.get(name)
        about = (cls.__doc__ or "").split("\n\n")[0].replace("``", "")
        groups.append(Group(f"freezing: {name}", flags_of(cls, cls.flag), " ".join(about.split())))
    return tuple(groups)


def is_strategy_flag(name: str) -> bool:
    """Whether a flag selects or adjusts a strategy."""
    return name in {flag.name for flag in _SELECT} or bool(_owners(name))


def suits(flag: str, strategy: str) -> bool:
    """Whether a flag is no strategy's own, or one of ``strategy``."""
    owners = _owners(flag)
    return not owners or strategy in owners


def choose(given: Mapping[str, Any]) -> Strategy:
    """The strategy that the flags which the user wrote ask for.

    Raises:
        ValueError: no such strategy, two at once, a value out of range, or a flag of another strategy.
    """
    name = given.get("freezing_strategy")
    if given.get("gradual_finetuning"):
        if name not in (None, "fixed"):
            raise ValueError(
                f"--gradual_finetuning means the fixed strategy, not {name}: leave one of them out"
            )
        name = "fixed"
    cls = strategies.get(DEFAULT if name is None else name)
    for flag in given:
        if not suits(flag, cls.name):
            owners = _owners(flag)
            raise ValueError(
                f"--{flag} belongs to the strategy {' or '.join(owners)}, but {cls.name} is selected: "
                f"add --freezing_strategy {owners[0]}, or leave --{flag} out"
            )
    flags = {f.name: cls.flag(f.name) for f in dataclasses.fields(cls)}
    values = {field: given[flag] for field, flag in flags.items() if flag in given}
    check_values(cls, values, lambda field: f"--{flags[field]}")
    return cls(**values)


def _owners(flag: str) -> tuple[str, ...]:
    """The strategies that have a flag."""
    classes = (strategies.get(name) for name in strategies.available())
    return tuple(cls.name for cls in classes if flag in {cls.flag(f.name) for f in dataclasses.fields(cls)})
