"""How messages put things: sizes and lengths of time in words, and how many cases are like the one named."""

from __future__ import annotations

from collections.abc import Sequence


def in_bytes(count: float) -> str:
    """A size in words: ``1.5 kB``, ``20 MB``; in powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 9.95 or unit == "bytes" else f"{count:.1f} {unit}"


def in_seconds(seconds: float) -> str:
    """A length of time in words: ``12 ms``, ``14 s``, ``2.5 hours``."""
    if seconds >= 60:
        unit, size = ("hours", 3600) if seconds >= 3600 else ("minutes", 60)
        return f"{seconds / size:.1f} {unit}"
    count, unit = (1000 * seconds, "ms") if seconds < 1 else (seconds, "s")
    count = float(f"{count:.2g}")  # as exact as a measurement of two clips can be
    return f"{count:.0f} {unit}" if count >= 10 else f"{count:.1f} {unit}"


def and_more(first: str, all_of_them: Sequence[object]) -> str:
    """``first``, which speaks for one of them, and how many others there are."""
    rest = len(all_of_them) - 1
    return f"{first} (and {rest} more like it)" if rest > 0 else first
