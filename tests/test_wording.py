"""Sizes, lengths of time and further cases in words."""

from __future__ import annotations

import pytest

from unfreeze.wording import and_more, in_bytes, in_seconds


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (7.2e6, "7.2 MB"),
        (9.97e6, "10 MB"),
        (20e6, "20 MB"),
        (999e6, "999 MB"),
        (999.9e6, "1.0 GB"),
        (1.26e9, "1.3 GB"),
        (3e13, "30000 GB"),
    ],
)
def test_bytes(count: float, said: str) -> None:
    assert in_bytes(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0123, "12 ms"),
        (0.277, "280 ms"),
        (0.0058, "5.8 ms"),
        (2.84, "2.8 s"),
        (14.06, "14 s"),
        (90, "1.5 minutes"),
        (9000, "2.5 hours"),
        (36_000, "10.0 hours"),
    ],
)
def test_seconds(seconds: float, said: str) -> None:
    assert in_seconds(seconds) == said


@pytest.mark.parametrize(
    ("cases", "said"), [([], "a"), (["a"], "a"), (["a", "b", "c"], "a (and 2 more like it)")]
)
def test_more_cases(cases: list[str], said: str) -> None:
    assert and_more("a", cases) == said
