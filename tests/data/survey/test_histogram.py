from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.survey import Histogram


@given(st.lists(st.floats(0, 1e12), max_size=40))
def test_every_value_is_counted_once(values):
    histogram = Histogram.of(values)
    assert sum(histogram.counts) == len(values)
    assert list(histogram.edges) == sorted(histogram.edges)
    assert len(histogram.lines(str)) == len(histogram.counts)


def test_bars():
    histogram = Histogram((0.0, 1.0, 2.0, 10.0), (4, 0, 1))
    assert histogram.lines(lambda x: f"{x:g}", width=8) == [" 0 - 1 ████████ 4", " 1 - 2 0", "2 - 10 ██ 1"]


def test_one_value_is_one_bar():
    assert Histogram.of([2.0, 2.0]).lines(str, width=2) == ["2.0 ██ 2"]


def test_values_of_different_orders_of_magnitude_share_bins_by_ratio():
    assert Histogram.of([1.0, 10.0, 100.0, 1000.0], bins=3).counts == (1, 1, 2)
