"""``--time_limit``: what the words mean, and whether another epoch fits."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNITS = {"h": 3600, "m": 60, "s": 1}
_WRITTEN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_RECENT = 3  # epochs; a thaw makes epochs slower, so those of the beginning say little about the next


def parse_time_limit(text: str) -> float:
    """Seconds: ``90m``, ``2h``, ``1h30m``, ``45s``, ``1.5h``.

    A bare number is refused: elsewhere it means seconds as often as minutes.

    Raises:
        ValueError: another form, or no time at all.
    """
    written = _WRITTEN.fullmatch("".join(text.split()).lower())
    if written is None or not any(written.groups()):
        bare = f"say the unit, as in {text}m" if re.fullmatch(r"\d+", text) else "write 90m, 2h or 1h30m"
        raise ValueError(f"--time_limit {text}: {bare}")
    seconds = sum(
        float(count) * of_unit
        for count, of_unit in zip(written.groups(), _UNITS.values(), strict=True)
        if count is not None
    )
    if not seconds:
        raise ValueError(f"--time_limit {text}: there is no time to train in; write 90m, 2h or 1h30m")
    return seconds


def out_of_time(elapsed: float, epoch_seconds: Sequence[float], limit: float) -> bool:
    """Whether the run ends here, because the next epoch would pass the limit.

    Args:
        elapsed: seconds since the run began.
        epoch_seconds: of the epochs so far, evaluation included; the next one is taken to be as long as the
            slowest of the last three. The first epoch always runs, as nothing is known of it.
        limit: seconds.
    """
    return bool(epoch_seconds) and elapsed + max(epoch_seconds[-_RECENT:]) > limit
