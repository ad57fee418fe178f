import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.training.task_weights import dynamic_weight_average, parse_task_weights, task_weights

TASKS = ("motion", "object")


def rows(*losses):
    return [
        {"epoch": n, "train": {f"{t}/loss": v for t, v in each.items()}} for n, each in enumerate(losses, 1)
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["motion=2", "object=1"], {"motion": 4 / 3, "object": 2 / 3}),
        (["motion=3"], {"motion": 1.5, "object": 0.5}),
        (["object=1e-1", "motion=.1"], {"motion": 1, "object": 1}),
        ([], {"motion": 1, "object": 1}),
    ],
)
def test_words_become_weights_that_sum_to_the_number_of_tasks(words, expected):
    assert parse_task_weights(words, TASKS) == pytest.approx(expected)
    assert task_weights(words, TASKS, rows({"motion": 1.0})) == pytest.approx(expected)


def test_no_words_are_no_weights_and_auto_is_none_yet():
    assert task_weights(None, TASKS, []) is None
    assert parse_task_weights(["auto"], TASKS) is None
    assert task_weights(["auto"], TASKS, []) == {"motion": 1, "object": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["automatic"], "'automatic' is neither auto nor a weight, as in motion=2"),
        (["moton=2"], r"no task 'moton'; did you mean 'motion'\? \(tasks: motion, object\)"),
        (["motion=2", "motion=1"], "task 'motion' has two weights"),
        (["auto", "motion=1"], "auto weighs all tasks; leave the other words out"),
        (
            ["motion=much"],
            "motion=much: 'much' is no number above 0; a task that is not to be trained is left out",
        ),
        (["motion=0"], "'0' is no number above 0"),
        (["motion=-1"], "'-1' is no number above 0"),
        (["motion=inf"], "'inf' is no number above 0"),
        (["motion=nan"], "'nan' is no number above 0"),
    ],
)
def test_a_mistake_is_one_line(words, message):
    with pytest.raises(ValueError, match=message) as found:
        parse_task_weights(words, TASKS)
    assert str(found.value).startswith("--task_weights")
    assert "\n" not in str(found.value)


def test_auto_by_hand():
    # motion fell to a half, object stands still: exp(1/4) and exp(1/2)
    epochs = rows(
        {"motion": 9.0, "object": 9.0}, {"motion": 2.0, "object": 3.0}, {"motion": 1.0, "object": 3.0}
    )
    a, b = math.exp(0.5 / 2), math.exp(1 / 2)
    expected = {"motion": 2 * a / (a + b), "object": 2 * b / (a + b)}
    assert task_weights(["auto"], TASKS, epochs) == pytest.approx(expected)
    assert task_weights(["auto"], TASKS, epochs[:1]) == {"motion": 1, "object": 1}


@pytest.mark.parametrize("before", [None, 0.0, math.nan, math.inf])
def test_a_task_without_two_losses_stands_still(before):
    found = dynamic_weight_average([{"motion": before, "object": 2.0}, {"motion": 1.0, "object": 2.0}], TASKS)
    assert found == pytest.approx({"motion": 1, "object": 1})
    assert dynamic_weight_average([{"object": 2.0}, {"object": 2.0}], TASKS) == pytest.approx(found)
    missing_now = dynamic_weight_average([{"motion": 1.0}, {"motion": before}], ("motion",))
    assert missing_now == {"motion": 1}


losses = st.none() | st.floats(0, 1e300)


@given(st.lists(st.fixed_dictionaries({"a": losses, "b": losses, "c": losses}), max_size=4))
def test_weights_are_finite_and_sum_to_the_number_of_tasks(epochs):
    found = dynamic_weight_average(epochs, ("a", "b", "c"))
    assert all(0 <= weight <= 3 for weight in found.values())
    assert sum(found.values()) == pytest.approx(3)
