from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.transforms import check_swaps, direction_like, swap_labels, transform_label

CLASSES = {"motion": ("left", "right", "up", "clockwise", "anticlockwise"), "side": ("l", "r")}
BOTH = {"motion": {0: 1, 1: 0}}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"motion": {"left": "right"}}, BOTH),
        ({"motion": {"right": "left"}}, BOTH),
        ({"motion": {"left": "right", "right": "left"}}, BOTH),
        (
            {"motion": {"left": "right", "clockwise": "anticlockwise"}, "side": {"l": "r"}},
            {"motion": {0: 1, 1: 0, 3: 4, 4: 3}, "side": {0: 1, 1: 0}},
        ),
    ],
)
def test_a_swap_table_becomes_indices_in_both_directions(table, expected):
    assert check_swaps(table, CLASSES) == expected


def test_a_class_that_yaml_takes_for_a_number_is_found():
    assert check_swaps({"angle": {90: 270}}, {"angle": ("90", "180", "270")}) == {"angle": {0: 2, 2: 0}}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"moton": {"left": "right"}},
            "--flip_swap: there is no task 'moton'; did you mean 'motion'? (tasks: motion, side)",
        ),
        (
            {"motion": {"left": "rihgt"}},
            "--flip_swap: task 'motion' has no class 'rihgt'; did you mean 'right'?",
        ),
        ({"motion": {"left": "left"}}, "--flip_swap: task 'motion' swaps 'left' with itself"),
        (
            {"motion": {"left": "right", "up": "right"}},
            "--flip_swap: task 'motion' swaps 'right' with 'left' and with 'up'; name it in one pair only",
        ),
        (
            {"motion": {"left": "right", "right": "up"}},
            "--flip_swap: task 'motion' swaps 'right' with 'left' and with 'up'; name it in one pair only",
        ),
        ({"motion": "left"}, "--flip_swap: task 'motion' takes pairs of classes, {left: right}, not 'left'"),
        ("left", "--flip_swap takes pairs of classes per task, {motion: {left: right}}, not 'left'"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(table, message):
    with pytest.raises(ValueError, match="flip_swap") as error:
        check_swaps(table, CLASSES)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_labels_of_every_kind():
    labels = {"motion": 1, "side": 1, "other": 0, "blank": None}
    assert swap_labels(labels, BOTH) == {"motion": 0, "side": 1, "other": 0, "blank": None}
    assert labels["motion"] == 1
    assert transform_label((0, 2), {0: 3, 3: 0}) == (2, 3)
    assert transform_label((), {0: 3, 3: 0}) == ()
    assert transform_label(None, {0: 3, 3: 0}) is None


label = st.none() | st.integers(0, 4) | st.sets(st.integers(0, 4)).map(lambda few: tuple(sorted(few)))


@given(order=st.permutations(range(5)), pairs=st.integers(0, 2), motion=label)
def test_swapping_twice_changes_nothing(order, pairs, motion):
    names = CLASSES["motion"]
    table = {names[order[2 * i]]: names[order[2 * i + 1]] for i in range(pairs)}
    swaps = check_swaps({"motion": table}, CLASSES)
    once = swap_labels({"motion": motion}, swaps)
    assert swap_labels(once, swaps) == {"motion": motion}
    assert isinstance(once["motion"], type(motion))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["hop", "brightness", "leftover", "upright"], []),
        (["turn left", "turn right", "stop"], [("turn left", "turn right")]),
        (["TurnLeft", "turn_right"], [("TurnLeft", "turn_right")]),
        (["clockwise", "counter-clockwise"], [("clockwise", "counter-clockwise")]),
        (["anti_clockwise", "clockwise"], [("anti_clockwise", "clockwise")]),
        (
            ["pull from left to right", "pull from right to left"],
            [("pull from left to right", "pull from right to left")],
        ),
        (["Left hook", "jab"], [("Left hook", None)]),
        (["arm_l", "arm_r", "l", "series r"], [("arm_l", "arm_r")]),
        (["left", "right", "left jab", "right jab"], [("left", "right"), ("left jab", "right jab")]),
        ([], []),
    ],
)
def test_names_that_sound_like_directions(names, expected):
    assert direction_like(names) == expected
