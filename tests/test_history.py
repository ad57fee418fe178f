"""The history: gapless epochs, the monitored metric, JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.history import EpochRecord, History

finite = st.floats(allow_nan=False)
records = st.lists(
    st.tuples(
        st.lists(st.text(max_size=5), max_size=3),
        st.dictionaries(st.text(max_size=5), finite, max_size=3),
        st.dictionaries(
            st.text(max_size=5), st.dictionaries(st.text(max_size=5), finite, max_size=2), max_size=2
        ),
    ),
    max_size=5,
)


@given(records, st.none() | st.text(max_size=5), st.sampled_from([None, "max", "min"]))
def test_json_round_trip(items, monitor, mode):
    history = History(monitor=monitor, mode=mode)
    for trainable, metrics, signals in items:
        history = history.append(EpochRecord(history.next_epoch, tuple(trainable), metrics, signals))

    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history


def test_a_history_is_not_changed_by_appending():
    first = History()
    second = first.append(EpochRecord(1))

    assert (first.next_epoch, second.next_epoch) == (1, 2)


@pytest.mark.parametrize("epochs", [(2,), (1, 3), (1, 1), (0, 1)])
def test_epochs_must_be_gapless_from_one(epochs):
    with pytest.raises(ValueError, match="the history must be gapless"):
        History(tuple(EpochRecord(epoch) for epoch in epochs))


def test_amending_replaces_the_last_epoch_and_advances_nothing():
    history = History((EpochRecord(1), EpochRecord(2, (), {"a": 1.0})))

    amended = history.amend(EpochRecord(2, (), {"a": 2.0}))

    assert amended.next_epoch == 3
    assert amended.records[-1].metrics == {"a": 2.0}
    with pytest.raises(ValueError, match="gapless"):
        history.amend(EpochRecord(3))
    with pytest.raises(AssertionError):
        History().amend(EpochRecord(1))


def test_a_mode_that_does_not_exist():
    with pytest.raises(ValueError, match="mode is 'max' or 'min', not 'best'"):
        History(mode="best")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("val/accuracy", "max"),
        ("val/balanced_accuracy", "max"),
        ("score", "max"),
        ("val/loss", "min"),
        ("val_loss", "min"),
        ("val/motion/loss", "min"),
        ("Loss", "min"),
        ("val-loss", "min"),
        ("top1_error", "min"),
        ("glossiness", "max"),
        # a task may be called so; what is watched is its accuracy
        ("val/error/accuracy", "max"),
        ("val/loss_type/macro_f1", "max"),
    ],
)
def test_the_name_of_a_metric_tells_its_mode(name, mode):
    assert History(monitor=name).watched() == (name, mode)


def test_a_given_mode_wins():
    assert History(monitor="val/loss", mode="max").watched() == ("val/loss", "max")


def test_the_only_metric_is_the_watched_one():
    assert History((EpochRecord(1, (), {"loss": 1.0}),)).watched() == ("loss", "min")


@pytest.mark.parametrize(
    ("metrics", "there"), [({}, "none"), ({"b": 1.0, "a": 2.0}, "a, b")], ids=["none", "two"]
)
def test_without_a_monitor_several_metrics_are_an_error(metrics, there):
    with pytest.raises(ValueError, match=f"monitor=….*report: {there}$"):
        History((EpochRecord(1, (), metrics),)).watched()
