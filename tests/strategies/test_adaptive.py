"""adaptive as tables: a metric an epoch in, the number of trainable blocks out."""

from __future__ import annotations

import math
import struct

import pytest

from unfreeze.history import EpochRecord, History
from unfreeze.strategies import BlockInfo
from unfreeze.strategies.adaptive import Adaptive

NAN, INF = math.nan, math.inf


def thawed(decisions):
    return [len(d.trainable) for d in decisions]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # epoch 1 sets the best; two epochs without improvement thaw, then the count starts anew
        ([0.5, 0.5, 0.5], [0, 0, 0, 1]),
        ([0.5, 0.5, 0.5, 0.5], [0, 0, 0, 1, 1]),
        ([0.5, 0.5, 0.5, 0.5, 0.5], [0, 0, 0, 1, 1, 2]),
        # an improvement starts the count anew
        ([0.5, 0.5, 0.6, 0.6, 0.6], [0, 0, 0, 0, 0, 1]),
        # the best stays over a thaw: 0.54 beats the epoch before, not the best
        ([0.55, 0.5, 0.5, 0.54, 0.54], [0, 0, 0, 1, 1, 2]),
        # the best is only replaced when beaten by more than the threshold, so small steps add up
        ([0.500, 0.503, 0.506], [0, 0, 0, 0]),
        ([0.500, 0.503, 0.505], [0, 0, 0, 1]),
        # an improvement freezes nothing again
        ([0.5, 0.5, 0.5, 0.7], [0, 0, 0, 1, 1]),
        # steady improvement thaws nothing
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0, 0]),
        # falling is no improvement
        ([0.5, 0.4, 0.3], [0, 0, 0, 1]),
        # an epoch that measured nothing finite counts for nothing, wherever it stands
        ([0.5, 0.5, NAN, 0.5], [0, 0, 0, 0, 1]),
        ([NAN, 0.5, 0.5, 0.5], [0, 0, 0, 0, 1]),
        ([0.5, INF, 0.5, 0.5], [0, 0, 0, 0, 1]),
        ([NAN, NAN, NAN, NAN], [0, 0, 0, 0, 0]),
    ],
)
def test_defaults_on_a_metric_to_maximise(play, r3d_18, values, expected):
    assert thawed(play(Adaptive(), r3d_18, values)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0, 1.0], [0, 0, 0, 1]),
        ([1.0, 0.9, 0.8, 0.7], [0, 0, 0, 0, 0]),
        ([1.0, 1.1, 1.2], [0, 0, 0, 1]),
        ([1.0, 0.997, 0.995], [0, 0, 0, 1]),
        ([1.0, 0.997, 0.994], [0, 0, 0, 0]),
        ([1.0, -INF, 1.0, 1.0], [0, 0, 0, 0, 1]),
    ],
)
def test_defaults_on_a_metric_to_minimise(play, r3d_18, values, expected):
    assert thawed(play(Adaptive(), r3d_18, values, metric="val/loss")) == expected


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


@pytest.mark.parametrize("rounded", [float, float32])
@pytest.mark.parametrize("best", [0.5, 0.505, 0.11, 0.7, 0.995, 12.345])
def test_an_improvement_equal_to_the_threshold_is_none_whatever_the_rounding(play, r3d_18, best, rounded):
    # 0.505 - 0.5 > 0.005 in floats: a clip more in 200 must not depend on that
    equal = rounded(best + 0.005)
    more = rounded(best + 0.0051)

    assert thawed(play(Adaptive(patience=1), r3d_18, [rounded(best), equal])) == [0, 0, 1]
    assert thawed(play(Adaptive(patience=1), r3d_18, [rounded(best), more])) == [0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({"patience": 1}, [0.5, 0.5, 0.5, 0.5], [0, 0, 1, 2, 3]),
        ({"patience": 3}, [0.5] * 7, [0, 0, 0, 0, 1, 1, 1, 2]),
        ({"min_improvement": 0.0}, [0.5, 0.5001, 0.5002], [0, 0, 0, 0]),
        ({"min_improvement": 0.0}, [0.5, 0.5, 0.5], [0, 0, 0, 1]),
        ({"min_improvement": 0.1}, [0.5, 0.55, 0.6], [0, 0, 0, 1]),
    ],
)
def test_settings(play, r3d_18, settings, values, expected):
    assert thawed(play(Adaptive(**settings), r3d_18, values)) == expected


def test_blocks_thaw_from_the_output_and_stay_when_all_are_thawed(play):
    blocks = (BlockInfo("a", 1), BlockInfo("pool", 0), BlockInfo("b", 1))

    decisions = play(Adaptive(patience=1), blocks, [0.5] * 6)

    whole = ("a", "pool", "b")
    assert [d.trainable for d in decisions] == [(), (), ("b",), whole, whole, whole, whole]
    assert decisions[-1].reason == (
        "val/accuracy 0.5, best 0.5 (epoch 1), 3 epochs without improvement, "
        "the whole backbone trains already"
    )


def test_the_mode_of_the_history_wins_over_the_name(r3d_18):
    records = tuple(EpochRecord(e, (), {"val/loss": v}) for e, v in enumerate([1.0, 1.1, 1.2], start=1))

    decide = Adaptive().decide
    assert len(decide(History(records, "val/loss", "max"), r3d_18).trainable) == 0
    assert len(decide(History(records, "val/loss"), r3d_18).trainable) == 1


def test_the_reason_is_the_metric_its_best_and_the_epochs_without_improvement(play, r3d_18):
    decisions = play(
        Adaptive(), r3d_18, [0.4, 0.5, 0.6, 0.634, 0.612, 0.61, 0.61], metric="val/balanced_accuracy"
    )

    name = "val/balanced_accuracy"
    assert [d.reason for d in decisions[3:]] == [
        f"{name} 0.6, best 0.6 (epoch 3), 0 of 2 epochs without improvement",
        f"{name} 0.634, best 0.634 (epoch 4), 0 of 2 epochs without improvement",
        f"{name} 0.612, best 0.634 (epoch 4), 1 of 2 epochs without improvement",
        f"{name} 0.61, best 0.634 (epoch 4), 2 of 2 epochs without improvement: thaw the next block",
        f"{name} 0.61, best 0.634 (epoch 4), 1 of 2 epochs without improvement",
    ]
    assert decisions[0].reason == "the backbone is frozen until the metric stops improving"


def test_the_reason_shows_a_minimised_metric_as_it_was(play, r3d_18):
    decisions = play(Adaptive(), r3d_18, [1.5, 1.25], metric="val/loss")

    assert decisions[-1].reason == "val/loss 1.25, best 1.25 (epoch 2), 0 of 2 epochs without improvement"


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_metric_that_is_not_finite_is_warned_of_once(play, r3d_18, bad):
    decisions = play(Adaptive(), r3d_18, [0.5, bad, 0.6])

    assert [len(d.warnings) for d in decisions] == [0, 0, 1, 0]
    assert f"val/accuracy of epoch 2 is {bad}" in decisions[2].warnings[0]
    assert f"val/accuracy {bad}, best 0.5 (epoch 1)" in decisions[2].reason


def test_every_decision_is_marked_as_measured(play, r3d_18):
    assert all(decision.measured for decision in play(Adaptive(), r3d_18, [0.5, 0.5]))


def test_a_run_that_never_measured_says_that_there_is_no_best(play, r3d_18):
    assert play(Adaptive(), r3d_18, [NAN])[-1].reason == "val/accuracy nan, no best yet"


def test_a_missing_metric_is_an_error_that_names_it_the_epoch_and_the_nearest(r3d_18):
    records = (
        EpochRecord(1, (), {"val/accuracy": 0.5, "val/loss": 1.0}),
        EpochRecord(2, (), {"val/acuracy": 0.5, "val/loss": 1.0}),
    )

    with pytest.raises(ValueError, match="adaptive watches 'val/accuracy', but epoch 2 reports") as error:
        Adaptive().decide(History(records, "val/accuracy"), r3d_18)
    assert "val/acuracy, val/loss; did you mean 'val/acuracy'?" in str(error.value)


def test_an_epoch_without_any_metric_is_an_error(r3d_18):
    with pytest.raises(ValueError, match="but epoch 1 reports nothing"):
        Adaptive().decide(History((EpochRecord(1),), "val/accuracy"), r3d_18)


def test_the_only_metric_needs_no_monitor(r3d_18):
    records = tuple(EpochRecord(epoch, (), {"score": 0.5}) for epoch in (1, 2, 3))

    assert Adaptive().decide(History(records), r3d_18).trainable == ("layer4.1",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 0}, "^patience must be at least 1, not 0"),
        ({"patience": 2.5}, "^patience must be a whole number, not 2.5"),
        ({"min_improvement": -0.1}, "^min_improvement must be at least 0, not -0.1"),
    ],
)
def test_values_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        Adaptive(**settings)
