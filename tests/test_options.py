from dataclasses import dataclass, fields
from typing import Literal

import pytest

from unfreeze.options import bounds_text, check_options, nearest, option


@dataclass(frozen=True)
class Example:
    share: float = option(0.5, "a share", ge=0, lt=1)
    count: int | None = option(None, "a number or nothing", gt=1, le=5)
    kind: Literal["round", "square"] = option("round", "a choice")
    switch: bool = option(False, "a switch")

    def __post_init__(self):
        check_options(self, flag=lambda name: f"--{name}")


@pytest.mark.parametrize("right", [{}, {"share": 0}, {"count": 5}, {"kind": "square"}, {"switch": True}])
def test_what_fits_passes(right):
    Example(**right)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"share": 1.0}, "--share must be at least 0 and below 1, not 1.0"),
        ({"share": "half"}, "--share must be a number, not 'half'"),
        ({"share": None}, "--share must be a number, not None"),
        ({"share": float("inf")}, "--share must be a number, not inf"),
        ({"count": 1}, "--count must be above 1 and at most 5, not 1"),
        ({"count": 2.0}, "--count must be a whole number, not 2.0"),
        ({"count": True}, "--count must be a whole number, not True"),
        ({"kind": "sqare"}, r"--kind must be one of round, square, not 'sqare'; did you mean 'square'\?"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Example(**wrong)


def test_bounds_in_words():
    assert [bounds_text(f) for f in fields(Example)] == [
        "at least 0 and below 1",
        "above 1 and at most 5",
        "",
        "",
    ]


def test_nearest_knows_when_nothing_is_near():
    assert nearest("layer4_1", ["layer4.1", "stem"]) == "; did you mean 'layer4.1'?"
    assert nearest("xyz", ["layer4.1", "stem"]) == ""
