"""What --time_limit may say, and when a run ends for it."""

from __future__ import annotations

import pytest

from unfreeze.training.time_limit import out_of_time, parse_time_limit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h 30m 15s", 5415),
        ("45s", 45),
        ("1.5h", 5400),
        ("2H", 7200),
        ("90m30s", 5430),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time_limit(text) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("90", r"^--time_limit 90: say the unit, as in 90m$"),
        ("soon", r"^--time_limit soon: write 90m, 2h or 1h30m$"),
        ("30m1h", "write 90m, 2h or 1h30m"),
        ("-5m", "write 90m"),
        ("1d", "write 90m"),
        ("", "write 90m"),
        ("0m", "no time to train in"),
        ("1:30", "write 90m"),
    ],
)
def test_what_is_no_time(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_time_limit(text)


@pytest.mark.parametrize(
    ("elapsed", "epochs", "limit", "over"),
    [
        (50, [], 10, False),  # nothing is known yet: the first epoch runs
        (30, [10, 10, 10], 40, False),  # to the second
        (31, [10, 10, 10], 40, True),
        (60, [10, 20, 30], 89, True),  # epochs grow slower as blocks thaw
        (60, [30, 10, 10, 10], 75, False),  # the first one is long ago
        (41, [5], 40, True),
    ],
)
def test_whether_another_epoch_fits(elapsed: float, epochs: list[float], limit: float, over: bool) -> None:
    assert out_of_time(elapsed, epochs, limit) is over
