"""What is frozen in the epochs to come, as a table over all strategies."""

from __future__ import annotations

import pytest

from unfreeze import strategies
from unfreeze.history import EpochRecord, History
from unfreeze.strategies import BlockInfo
from unfreeze.strategies.fixed import Phase
from unfreeze.training.forecast import STALLED, Forecast, boundary_of, dry_run, forecast

BLOCKS = tuple(BlockInfo(f"b{index}", 10) for index in range(5))
METRIC = "val/accuracy"


def so_far(strategy, values, monitor=METRIC, mode=None, blocks=BLOCKS):
    """The history of a run in which the metric took these values."""
    history = History(monitor=monitor, mode=mode)
    for value in values:
        decision = strategy.decide(history, blocks)
        history = history.append(EpochRecord(history.next_epoch, decision.trainable, {monitor: value}))
    return history


THERE_AND_BACK = {"phases": (Phase(1, "none"), Phase(2, "last 3"), Phase(2, ("b4",)), Phase(1, "all"))}
GAP = {"phases": (Phase(1, ("b1", "b4")), Phase(1, ("b3",)))}


@pytest.mark.parametrize(
    ("name", "settings", "values", "epochs", "boundaries", "floor"),
    [
        ("none", {}, [], 3, (0, 0, 0), 0),
        ("none", {}, [0.1], 3, (0, 0), 0),
        ("head_only", {}, [], 3, (5, 5, 5), 5),
        ("early_gradual", {}, [], 6, (5, 4, 3, 2, 2, 2), 2),
        ("early_gradual", {}, [0.5, 0.6, 0.7], 6, (2, 2, 2), 2),
        ("early_gradual", {"freeze_epochs": 0, "blocks_per_epoch": 9, "target_ratio": 1.0}, [], 2, (0, 0), 0),
        ("progressive", {}, [], 8, (5, 4, 4, 3, 3, 2, 2, 1), 1),
        ("progressive", {"start_epoch": 3, "target_ratio": 0.2}, [], 6, (5, 5, 4, 4, 4, 4), 4),
        ("adaptive", {"patience": 1}, [], 5, (5, 5, 4, 3, 2), 2),
        ("adaptive", {"patience": 2}, [], 7, (5, 5, 5, 4, 4, 3, 3), 3),
        # improving so far, and then never again
        ("adaptive", {"patience": 2}, [0.1, 0.5, 0.9], 8, (5, 5, 4, 4, 3), 3),
        ("adaptive", {"patience": 2}, [0.9, 0.9, 0.9], 7, (4, 4, 3, 3), 3),
        # far above and far below the value of epochs that were never trained
        ("adaptive", {"patience": 2}, [70.0, 80.0], 6, (5, 5, 4, 4), 4),
        ("adaptive", {"patience": 2}, [0.01, 0.02], 6, (5, 5, 4, 4), 4),
        ("adaptive", {"patience": 2}, [float("nan")], 5, (5, 5, 5, 4), 4),
        ("fixed", {"phase1_epochs": 2, "phase2_epochs": 2}, [], 6, (5, 5, 2, 2, 2, 2), 2),
        ("fixed", THERE_AND_BACK, [], 7, (5, 2, 2, 4, 4, 0, 0), 0),
        ("fixed", THERE_AND_BACK, [0.1, 0.2, 0.3], 5, (4, 4), 4),
        ("fixed", GAP, [], 3, (1, 3, 3), 1),
        ("early_gradual", {}, [0.1, 0.2], 2, (), 5),
    ],
)
def test_the_boundaries_of_all_strategies(name, settings, values, epochs, boundaries, floor):
    strategy = strategies.get(name)(**settings)
    found = forecast(strategy, BLOCKS, so_far(strategy, values), epochs)
    assert found == Forecast(boundaries, name != "adaptive" or not boundaries, floor)


def test_every_strategy_is_in_the_table():
    [mark] = test_the_boundaries_of_all_strategies.pytestmark
    assert {row[0] for row in mark.args[1]} == set(strategies.available())


@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", None), ("score", "min")])
def test_a_metric_to_minimise_stands_at_its_highest(monitor, mode):
    adaptive = strategies.get("adaptive")(patience=1)
    history = so_far(adaptive, [9.0, 3.0], monitor, mode)
    assert forecast(adaptive, BLOCKS, history, 5).boundaries == (5, 4, 3)


@pytest.mark.parametrize("history", [History(), History(mode="min")])
def test_a_history_without_a_name_will_do_before_the_first_epoch(history):
    assert forecast(strategies.get("adaptive")(patience=1), BLOCKS, history, 3).boundaries == (5, 5, 4)


def test_a_strategy_that_watches_nothing_needs_no_metric():
    early = strategies.get("early_gradual")()
    history = History((EpochRecord(1, (), {"a": 1.0, "b": 2.0}),))
    assert forecast(early, BLOCKS, history, 3).boundaries == (4, 3)
    with pytest.raises(ValueError, match="say which metric to watch"):
        forecast(strategies.get("adaptive")(), BLOCKS, history, 3)


def test_the_past_stays_as_it_was():
    adaptive = strategies.get("adaptive")()
    history = so_far(adaptive, [0.1, 0.2])
    before = history.to_dict()
    dry_run(adaptive, BLOCKS, history, 9)
    assert history.to_dict() == before


def test_decisions_are_those_of_the_epochs_to_come():
    progressive = strategies.get("progressive")(start_epoch=2, interval=1)
    decisions = dry_run(progressive, BLOCKS, History(monitor=METRIC), 4)
    assert [(d.epoch, len(d.trainable)) for d in decisions] == [(1, 0), (2, 1), (3, 2), (4, 3)]
    later = dry_run(progressive, BLOCKS, so_far(progressive, [STALLED] * 2), 4)
    assert later == decisions[2:]


SIZES = {"pad": 0, "a": 5, "pool": 0, "b": 5, "end": 0}
POOLED = tuple(BlockInfo(name, size) for name, size in SIZES.items())


@pytest.mark.parametrize(
    ("trainable", "boundary"),
    [
        ((), 5),
        (("b", "end"), 3),
        (("b",), 3),
        (("a", "pool", "b", "end"), 1),
        (("pad", "a", "pool", "b", "end"), 0),
        # it has nothing to train, but it is in training mode
        (("pool", "b"), 2),
        (("end",), 4),
    ],
)
def test_blocks_without_parameters_are_frozen_unless_they_are_named(trainable, boundary):
    assert boundary_of(trainable, POOLED) == boundary


@pytest.mark.parametrize(("name", "expected"), [("progressive", (5, 3, 3, 0, 0)), ("none", (0,) * 5)])
def test_blocks_without_parameters_go_with_their_neighbours(name, expected):
    assert forecast(strategies.get(name)(), POOLED, History(), 5).boundaries == expected
