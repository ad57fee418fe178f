from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from unfreeze.data.transforms import PRESETS, Augment, draw_speed, flips


def test_there_is_a_preset_for_every_choice_of_the_flag():
    assert tuple(PRESETS) == get_args(Augment)


def test_from_none_to_strong_there_is_ever_more():
    assert [preset.flip for preset in PRESETS.values()] == [False, False, True, True]
    smallest = [(preset.scale or (1.0,))[0] for preset in PRESETS.values()]
    spread = [preset.speed[1] for preset in PRESETS.values()]
    assert smallest == sorted(smallest, reverse=True)
    assert spread == sorted(spread)


@pytest.mark.parametrize(
    ("augment", "flip", "expected"),
    [
        ("none", None, False),
        ("light", None, False),
        ("light", True, True),
        ("standard", None, True),
        ("strong", None, True),
        ("strong", False, False),
    ],
)
def test_the_user_has_the_last_word_on_flips(augment, flip, expected):
    assert flips(augment, flip) is expected


@pytest.mark.parametrize("augment", ["none", "light"])
def test_where_the_speed_stays_nothing_is_drawn(augment):
    before = torch.get_rng_state()
    assert draw_speed(augment) == 1
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("augment", ["standard", "strong"])
def test_speeds_fill_their_range_evenly_on_both_sides_of_1(augment):
    low, high = PRESETS[augment].speed
    assert low * high == pytest.approx(1)
    torch.manual_seed(0)
    drawn = [draw_speed(augment) for _ in range(400)]
    assert low <= min(drawn) < low + 0.01
    assert high - 0.01 < max(drawn) <= high
    assert abs(sum(map(math.log, drawn)) / 400) < 0.02


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="not 'heavy'"):
        flips("heavy", None)
