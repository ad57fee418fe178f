"""Registration, flags and the counting helpers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import unfreeze.strategies as strategies
from unfreeze.strategies import BlockInfo, Decision, Strategy
from unfreeze.strategies.base import REGISTRY, blocks_to_reach, last_blocks, percent, target_parameters
from unfreeze.strategies.early_gradual import EarlyGradual


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def blocks_of(*sizes):
    return tuple(BlockInfo(f"b{index}", size) for index, size in enumerate(sizes))


def test_all_strategies_are_there():
    assert strategies.available() == (
        "adaptive",
        "early_gradual",
        "fixed",
        "head_only",
        "none",
        "progressive",
    )


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(
        ValueError, match="unknown freezing strategy 'early_gradul'; did you mean 'early_gradual'"
    ):
        strategies.get("early_gradul")


def test_a_class_is_registered_by_being_defined_and_its_fields_are_its_flags():
    @dataclass(frozen=True)
    class Mine(Strategy):
        name: ClassVar[str] = "mine"
        speed: int = 3

        def decide(self, history, blocks):
            return Decision(history.next_epoch, (), "")

    assert strategies.get("mine") is Mine
    assert Mine.flag("speed") == "mine_speed"
    assert Mine().run_length() is None


def test_the_class_that_slots_makes_anew_is_the_registered_one():
    @dataclass(frozen=True, slots=True)
    class Slotted(Strategy):
        name: ClassVar[str] = "slotted"
        speed: int = 3

        def decide(self, history, blocks):
            return Decision(history.next_epoch, (), "")

    assert strategies.get("slotted") is Slotted
    assert strategies.get("slotted")(speed=4).speed == 4


def test_two_rules_of_one_name_are_an_error():
    with pytest.raises(
        TypeError, match=r"two strategies are called 'early_gradual': unfreeze\.strategies\..*EarlyGradual"
    ):

        class Other(EarlyGradual):
            name: ClassVar[str] = "early_gradual"


def test_a_subclass_without_a_name_of_its_own_does_not_take_its_parent_s_place():
    class Tuned(EarlyGradual):
        pass

    assert strategies.get("early_gradual") is EarlyGradual


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ((), 3, ""),
        ((5, 5, 5), 0, ""),
        ((5, 5, 5), 2, "12"),
        ((5, 5, 5), 9, "012"),
        # a parameterless block is no step and goes with the block before it
        ((5, 0, 5, 0), 1, "23"),
        ((5, 0, 5, 0), 2, "0123"),
        ((5, 5, 0, 5), 1, "3"),
        # at the input there is none before it: it goes with the first that has parameters
        ((0, 5, 5), 1, "2"),
        ((0, 5, 5), 2, "012"),
        ((0, 0), 1, ""),
    ],
)
def test_last_blocks(sizes, count, expected):
    assert last_blocks(blocks_of(*sizes), count) == tuple(f"b{digit}" for digit in expected)


@pytest.mark.parametrize(
    ("sizes", "target", "count"),
    [
        ((5, 3, 2), 0, 0),
        ((5, 3, 2), 1, 1),
        ((5, 3, 2), 2, 1),
        ((5, 3, 2), 3, 2),
        ((5, 0, 2), 3, 2),
        ((), 0, 0),
    ],
)
def test_blocks_to_reach(sizes, target, count):
    assert blocks_to_reach(blocks_of(*sizes), target) == count


@given(st.lists(st.integers(0, 1000), max_size=20), st.integers(0, 100))
def test_the_last_blocks_reach_the_target_and_one_fewer_do_not(sizes, hundredths):
    blocks = blocks_of(*sizes)
    target = target_parameters(blocks, hundredths / 100)
    count = blocks_to_reach(blocks, target)
    held = {block.name: block.parameters for block in blocks}

    # exact integer arithmetic as the reference
    assert target == -(-hundredths * sum(sizes) // 100)
    assert sum(held[name] for name in last_blocks(blocks, count)) >= target
    if count:
        assert sum(held[name] for name in last_blocks(blocks, count - 1)) < target


@pytest.mark.parametrize(("ratio", "text"), [(0.5, "50%"), (0.125, "12.5%"), (0.07, "7%"), (1.0, "100%")])
def test_percent(ratio, text):
    assert percent(ratio) == text
