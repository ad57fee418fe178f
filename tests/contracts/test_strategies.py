"""What every strategy promises, run over all that are registered: a new one is tested by being there."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze import strategies
from unfreeze.history import EpochRecord, History
from unfreeze.strategies import BlockInfo
from unfreeze.strategies.fixed import Phase

# The defaults of every registered strategy, and further settings of those that have any.
SETTINGS = {name: [{}] for name in strategies.available()}
SETTINGS["early_gradual"] += [
    {"freeze_epochs": 0},
    {"freeze_epochs": 100},
    {"blocks_per_epoch": 3, "target_ratio": 1.0},
    {"target_ratio": 0.0},
]
SETTINGS["progressive"] += [{"start_epoch": 1, "interval": 1, "blocks_per_step": 2}, {"target_ratio": 0.3}]
SETTINGS["adaptive"] += [{"patience": 1}, {"patience": 1, "min_improvement": 0.0}]
SETTINGS["fixed"] += [
    {"phase1_epochs": 0, "phase2_epochs": 1},
    {"phases": (Phase(1, "none"), Phase(2, "last 2", 0.5), Phase(1, "all"), Phase(1, ("last 1",)))},
]
CASES = [(name, settings) for name, each in SETTINGS.items() for settings in each]
NEVER_REFREEZE = ("early_gradual", "progressive", "none", "head_only", "adaptive")
TIME_DRIVEN = ("early_gradual", "progressive", "none", "head_only", "fixed")
THAWING = [
    ("early_gradual", {"target_ratio": 1.0}),
    ("progressive", {"interval": 1}),
    ("adaptive", {"patience": 1}),
]
METRIC = "val/accuracy"


def strategies_called(names):
    chosen = [strategies.get(name)(**settings) for name, settings in CASES if name in names]
    return pytest.mark.parametrize("strategy", chosen, ids=repr)


every_strategy = strategies_called(strategies.available())
sizes_of_blocks = st.lists(st.integers(0, 1000), max_size=12)
metrics = st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=12)


def named(sizes):
    return tuple(BlockInfo(f"block.{index}", size) for index, size in enumerate(sizes))


def run(strategy, blocks, values):
    """The histories before epochs 1 … len(values) + 1, and the decisions taken on them."""
    histories, decisions = [History(monitor=METRIC)], []
    for value in values:
        decisions.append(strategy.decide(histories[-1], blocks))
        record = EpochRecord(histories[-1].next_epoch, decisions[-1].trainable, {METRIC: value})
        histories.append(histories[-1].append(record))
    return histories, [*decisions, strategy.decide(histories[-1], blocks)]


@every_strategy
@given(sizes=sizes_of_blocks, values=metrics)
def test_the_same_history_gives_the_same_decision(strategy, sizes, values):
    blocks = named(sizes)
    before = copy.deepcopy((strategy, blocks))

    histories, decisions = run(strategy, blocks, values)

    other = type(strategy)(**dataclasses.asdict(strategy))
    for history, decision in zip(histories, decisions, strict=True):
        stored = json.loads(json.dumps(history.to_dict()))
        assert strategy.decide(history, blocks) == decision
        assert other.decide(History.from_dict(stored), list(blocks)) == decision
    assert (strategy, blocks) == before


@every_strategy
@given(sizes=sizes_of_blocks, values=metrics)
def test_a_decision_is_well_formed(strategy, sizes, values):
    blocks = named(sizes)
    order = [block.name for block in blocks]
    _, decisions = run(strategy, blocks, values)

    for epoch, decision in enumerate(decisions, start=1):
        assert decision.epoch == epoch
        assert list(decision.trainable) == [name for name in order if name in decision.trainable]
        assert decision.reason
        assert "\n" not in decision.reason
        assert set(decision.lr_scales) <= set(decision.trainable)
        assert all(scale > 0 for scale in decision.lr_scales.values())
        assert decision.target is None or 0 <= decision.target <= sum(sizes)
        json.dumps(dataclasses.asdict(decision))


@strategies_called(NEVER_REFREEZE)
@given(sizes=sizes_of_blocks, values=metrics)
def test_what_thaws_never_freezes_again(strategy, sizes, values):
    _, decisions = run(strategy, named(sizes), values)

    for earlier, later in itertools.pairwise(decisions):
        assert set(earlier.trainable) <= set(later.trainable)


@strategies_called(TIME_DRIVEN)
@given(sizes=sizes_of_blocks, values=metrics)
def test_what_follows_the_clock_ignores_metrics(strategy, sizes, values):
    blocks = named(sizes)

    assert run(strategy, blocks, values)[1] == run(strategy, blocks, [0.5] * len(values))[1]


@pytest.mark.parametrize(("name", "settings"), THAWING)
@given(sizes=sizes_of_blocks)
def test_a_block_without_parameters_never_costs_an_epoch(name, settings, sizes):
    strategy, blocks = strategies.get(name)(**settings), named(sizes)
    size = {block.name: block.parameters for block in blocks}
    owners = sum(s > 0 for s in sizes)
    # a metric that never improves; adaptive needs one epoch for the best and one for the first plateau
    _, decisions = run(strategy, blocks, [0.5] * (owners + 3))

    held = [sum(size[name] for name in decision.trainable) for decision in decisions]
    start = next(index for index, count in enumerate([*held, 1]) if count)
    growing = held[max(start - 1, 0) : start + owners]
    assert all(a < b for a, b in itertools.pairwise(growing))
    assert held[-1] == sum(sizes)
    if owners:
        assert decisions[-1].trainable == tuple(size)


@every_strategy
def test_flags_are_unique_and_explained(strategy):
    fields = dataclasses.fields(strategy)

    assert all(f.metadata.get("help") for f in fields)
    taken = [type(strategy).flag(f.name) for f in fields]
    others = [
        cls.flag(f.name)
        for cls in map(strategies.get, strategies.available())
        if cls is not type(strategy)
        for f in dataclasses.fields(cls)
    ]
    assert not set(taken) & set(others)


@every_strategy
def test_run_length_is_a_number_of_epochs_or_none(strategy):
    length = strategy.run_length()
    assert length is None or length >= 1


def test_nothing_of_this_imports_torch():
    heavy = "{'torch', 'numpy'}"
    code = f"import sys, unfreeze.history, unfreeze.strategies; sys.exit(bool({heavy} & {{*sys.modules}}))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
