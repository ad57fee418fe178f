"""Dataclass fields that are also flags: default, help text, bounds and choices in one place.

``TrainConfig`` and every strategy declare their fields with ``option``; the command line is made from them, and
the dataclass checks itself with ``check_options``, so a library user gets the same message as a shell user.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any


def option(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """A dataclass field that is also a flag; a ``dict`` or ``list`` default is copied for each instance."""
    metadata = {"help": help, "ge": ge, "gt": gt, "lt": lt, "le": le, "choices": choices}
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_options(instance: Any, flag: Callable[[str], str] = str) -> None:
    """Check every field of a dataclass instance against its bounds and choices.

    Args:
        flag: the flag of a field name, for the message.

    Raises:
        ValueError: a value is out of range or none of the choices.
    """
    for f in dataclasses.fields(instance):
        value = getattr(instance, f.name)
        if value is not None:
            _check_choice(f, value, flag(f.name))
            _check_bounds(f, value, flag(f.name))


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint for an error message: ``; did you mean 'layer4.1'?`` or the empty string."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _check_choice(f: dataclasses.Field[Any], value: Any, flag: str) -> None:
    choices = f.metadata.get("choices")
    if choices is not None and value not in choices:
        raise ValueError(
            f"{flag} must be one of {', '.join(choices)}, not {value!r}{nearest(str(value), choices)}"
        )


def _check_bounds(f: dataclasses.Field[Any], value: Any, flag: str) -> None:
    if not isinstance(value, (int, float)):
        return
    low, above, below, high = (f.metadata.get(key) for key in ("ge", "gt", "lt", "le"))
    fits = (
        not math.isnan(value)
        and (low is None or value >= low)
        and (above is None or value > above)
        and (below is None or value < below)
        and (high is None or value <= high)
    )
    if not fits:
        wanted = [f"at least {low}"] if low is not None else []
        wanted += [f"above {above}"] if above is not None else []
        wanted += [f"below {below}"] if below is not None else []
        wanted += [f"at most {high}"] if high is not None else []
        raise ValueError(f"{flag} must be {' and '.join(wanted)}, not {value}")
