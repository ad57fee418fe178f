"""Resuming is replaying: a strategy must decide again what it decided before, epoch by epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unfreeze.history import History
from unfreeze.strategies.base import BlockInfo, Decision, Strategy


def describe(strategy: Strategy) -> dict[str, Any]:
    """A strategy as plain data: its name and its fields."""
    return {"name": strategy.name, "fields": _plain(strategy)}


def compare(
    state: Mapping[str, Any], strategy: Strategy, blocks: Sequence[BlockInfo], history: History
) -> None:
    """Compare a saved state with what it is about to be loaded into.

    Raises:
        ValueError: strategy, blocks or monitored metric differ; the message says how.
    """
    saved, own = state["strategy"], describe(strategy)
    if saved["name"] != own["name"]:
        raise ValueError(f"the state is of strategy {saved['name']!r}, this run has {own['name']!r}")
    for name in sorted(saved["fields"].keys() | own["fields"].keys()):
        before, now = saved["fields"].get(name), own["fields"].get(name)
        if before != now:
            raise ValueError(f"the state was made with {name} = {before!r}, this run has {now!r}")
    sizes = {block.name: block.parameters for block in blocks}
    if list(state["blocks"].items()) != list(sizes.items()):
        changed = [n for n in {**state["blocks"], **sizes} if state["blocks"].get(n) != sizes.get(n)]
        text = ", ".join(f"{n} ({state['blocks'].get(n)} -> {sizes.get(n)})" for n in changed[:3])
        raise ValueError(f"the state is of a model with other blocks: {text or 'their order differs'}")
    for key in ("monitor", "mode"):
        before, now = state["history"][key], getattr(history, key)
        if before != now:
            raise ValueError(f"the state was made with {key} = {before!r}, this run has {now!r}")


def replay(history: History, decide: Callable[[History], Decision], epoch: int) -> list[Decision]:
    """The decisions for epochs 1 to ``epoch``, which must be those that ``history`` recorded.

    Raises:
        ValueError: one differs; the message says where.
    """
    decisions = []
    for number in range(1, epoch + 1):
        decision = decide(dataclasses.replace(history, records=history.records[: number - 1]))
        if number <= len(history.records):
            recorded = history.records[number - 1].trainable
            if tuple(decision.trainable) != tuple(recorded):
                raise ValueError(
                    f"epoch {number} trained {_blocks(recorded)}, but the strategy now decides on "
                    f"{_blocks(decision.trainable)}: the state is of another run"
                )
        decisions.append(decision)
    return decisions


def _blocks(names: Sequence[str]) -> str:
    return ", ".join(names) or "no block"


def _plain(value: Any) -> Any:
    """Only what JSON knows, so that a loaded state compares equal to a new one."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
