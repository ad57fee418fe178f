"""The range test on losses that are made up."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.training.range_test import Curve, growing_rates, rows_of, smoothed, suggested, sweep


def curve(losses: list[float], low: float = 1e-6, high: float = 1.0) -> Curve:
    rates = growing_rates(low, high, len(losses))
    return Curve(tuple(rates), tuple(losses), tuple(smoothed(losses)), False)


def falls_at(place: float, steps: int = 100, noise: float = 0.0) -> list[float]:
    """2.0, then down to 1.0 around ``place`` (the exponent of a rate), then up from 1.5 decades later."""
    exponents = [-6 + 6 * step / (steps - 1) for step in range(steps)]
    return [
        2 - 1 / (1 + math.exp(-6 * (x - place))) + max(0.0, 3 * (x - place - 1.5)) + noise * math.sin(37 * i)
        for i, x in enumerate(exponents)
    ]


@given(st.floats(1e-8, 1e-3), st.floats(1e-2, 10), st.integers(10, 300))
def test_rates_grow_by_the_same_factor(low: float, high: float, steps: int) -> None:
    rates = growing_rates(low, high, steps)
    assert (rates[0], len(rates)) == (low, steps)
    assert rates[-1] == pytest.approx(high)
    factors = [b / a for a, b in itertools.pairwise(rates)]
    assert factors == pytest.approx([factors[0]] * len(factors), rel=1e-6)


@pytest.mark.parametrize("place", [-5.0, -4.0, -3.0, -2.0])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_it_suggests_where_the_loss_falls_fastest(place: float, noise: float) -> None:
    found = suggested(curve(falls_at(place, noise=noise)))
    assert found is not None
    assert math.log10(found) == pytest.approx(place, abs=0.35)


@pytest.mark.parametrize(
    "losses",
    [
        [2.0] * 50,
        [2.0 + 0.1 * step for step in range(50)],  # it only ever rises
        [2.0 + 0.05 * math.sin(37 * step) for step in range(100)],  # noise alone
        [2.0, 1.0],
        [],
    ],
)
def test_where_nothing_falls_it_suggests_nothing(losses: list[float]) -> None:
    assert suggested(curve(losses)) is None


def test_the_suggestion_comes_before_the_lowest_point() -> None:
    """The loss may fall again after it has broken, when it falls onto that of a constant prediction."""
    losses = [2.0] * 20 + [1.8 - 0.01 * i for i in range(20)] + [9.0, 8.0, 6.0, 4.0, 3.0, 2.0, 2.0, 2.0]
    found = curve(losses)
    rate = suggested(found)
    assert rate is not None
    assert rate < found.rates[40]


def test_smoothing_does_not_lag_and_keeps_what_is_flat() -> None:
    assert smoothed([3.0] * 40) == pytest.approx([3.0] * 40)
    step = [2.0] * 50 + [1.0] * 50
    assert smoothed(step)[49] + smoothed(step)[50] == pytest.approx(3.0)
    assert smoothed([1.0]) == [1.0]


def test_a_sweep_ends_when_the_loss_breaks() -> None:
    rates = growing_rates(1e-6, 1, 100)
    losses = dict(zip(rates, falls_at(-4.0), strict=True))
    found = sweep(lambda rate: losses[rate] * (100 if rate > 1e-1 else 1), rates)
    assert found.broke
    assert 80 < len(found.rates) < 90
    assert len(found.rates) == len(found.losses) == len(found.smooth)
    whole = sweep(dict(zip(rates, falls_at(-2.0), strict=True)).__getitem__, rates)
    assert not whole.broke
    assert whole.rates == tuple(rates)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_it_and_is_left_out(value: float) -> None:
    rates = growing_rates(1e-6, 1, 100)
    found = sweep(lambda rate: value if rate > 1e-3 else 2.0, rates)
    assert found.broke
    assert set(found.losses) == {2.0}


def test_a_low_loss_may_be_several_times_as_high_without_harm() -> None:
    losses = iter([2.0] * 10 + [0.01] * 50 + [0.1] * 40)
    assert not sweep(lambda _: next(losses), growing_rates(1e-6, 1, 100)).broke


def test_a_few_rows_from_first_to_last() -> None:
    found = curve(falls_at(-3.0))
    rows = list(rows_of(found, 5))
    assert [rate for rate, _ in rows] == [found.rates[i] for i in (0, 25, 50, 74, 99)]
    assert len(list(rows_of(curve([2.0, 1.0])))) == 2
    assert list(rows_of(curve([]))) == []
