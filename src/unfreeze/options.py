"""Dataclass fields that are also flags: default, help text, bounds and choices in one place.

``TrainConfig`` and every strategy declare their fields with ``option``; the command line is made from them,
and the dataclass checks itself with ``check_options``: a library user gets the message of a shell user.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def option(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    from_yaml: Callable[[Any], Any] | None = None,
) -> Any:
    """A dataclass field that is also a flag; choices are its type: ``Literal["none", "light"]``.

    Args:
        from_yaml: the flag's value is a YAML file, and this makes the field's value of the file's content.
    """
    bounds = {"ge": ge, "gt": gt, "lt": lt, "le": le}
    return dataclasses.field(default=default, metadata={"help": help, "from_yaml": from_yaml, **bounds})


def check_options(instance: Any, flag: Callable[[str], str] = str) -> None:
    """Check every field of a dataclass instance: choices, numbers of the right kind, bounds.

    Args:
        flag: what the message calls a field, from its name.

    Raises:
        ValueError: a value does not fit.
    """
    values = {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)}
    check_values(type(instance), values, flag)


def check_values(cls: type, values: Mapping[str, Any], flag: Callable[[str], str] = str) -> None:
    """The same for values, by field name, that are yet to become an instance of ``cls``.

    The command line asks first, so that a message names the flag that was typed and not the field behind it.
    """
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        if f.name not in values:
            continue
        value, hint, called = values[f.name], hints[f.name], flag(f.name)
        kinds = typing.get_args(hint) or (hint,)
        if typing.get_origin(hint) is typing.Literal:
            _check_choice(value, kinds, called)
        elif {int, float} & set(kinds) and not (value is None and type(None) in kinds):
            _check_number(value, whole=float not in kinds, called=called)
            _check_bounds(f, value, called=called)


def bounds_text(f: dataclasses.Field[Any]) -> str:
    """A field's bounds in words, ``at least 0 and below 1``, or the empty string."""
    words = {"ge": "at least", "gt": "above", "lt": "below", "le": "at most"}
    return " and ".join(
        f"{word} {f.metadata[key]}" for key, word in words.items() if f.metadata.get(key) is not None
    )


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint for an error message: ``; did you mean 'layer4.1'?`` or the empty string."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _check_choice(value: Any, choices: Sequence[str], called: str) -> None:
    if value not in choices:
        hint = nearest(str(value), choices)
        raise ValueError(f"{called} must be one of {', '.join(choices)}, not {value!r}{hint}")


def _check_number(value: Any, *, whole: bool, called: str) -> None:
    kind = numbers.Integral if whole else numbers.Real
    if not isinstance(value, kind) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{called} must be a {'whole ' if whole else ''}number, not {value!r}")


def _check_bounds(f: dataclasses.Field[Any], value: float, *, called: str) -> None:
    low, above, below, high = (f.metadata.get(key) for key in ("ge", "gt", "lt", "le"))
    fits = (
        (low is None or value >= low)
        and (above is None or value > above)
        and (below is None or value < below)
        and (high is None or value <= high)
    )
    if not fits:
        raise ValueError(f"{called} must be {bounds_text(f)}, not {value}")
