"""Extra arguments of optimizers and schedulers, checked before torch gets to see them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from unfreeze.options import nearest


def check_arguments(
    what: str, target: Callable[..., Any], given: Mapping[str, Any], also: Collection[str] = ()
) -> None:
    """Check the names and the kinds of keyword arguments.

    Args:
        what: what the message calls the target: ``optimizer 'sgd'``.
        also: names that are fine although the target does not take them.

    Raises:
        ValueError: an argument that does not exist (with the nearest right name), or a value of the wrong
            kind.
    """
    signature = inspect.signature(target).parameters
    known = [name for name in signature if name not in ("self", "params", "optimizer", "last_epoch")]
    for name, value in given.items():
        if name in also:
            continue
        if name not in known:
            listed = ", ".join(sorted({*known, *also}))
            raise ValueError(
                f"{what} has no argument {name!r}{nearest(name, [*known, *also])} (known: {listed})"
            )
        problem = _misfit(signature[name], value)
        if problem:
            raise ValueError(f"{what}: {name} must be {problem}, not {value!r}")


def call(what: str, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a constructor; what it finds wrong with a value becomes one ``ValueError`` that says where.

    Raises:
        ValueError: the constructor refused a value.
    """
    try:
        return target(*args, **kwargs)
    except (ValueError, TypeError, RuntimeError, KeyError, ZeroDivisionError) as error:
        raise ValueError(f"{what}: {' '.join(str(error).split())}") from error


def _misfit(parameter: inspect.Parameter, value: Any) -> str:
    """What the value should have been, by the parameter's default and annotation; empty where it fits."""
    default, annotation = parameter.default, str(parameter.annotation)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation.startswith("Literal["):
        # some of torch's classes compare such a word, and where none fits do something of their own
        words = re.findall(r"'(\w+)'", annotation)
        return "" if value in words else f"one of {', '.join(words)}"
    if isinstance(default, bool) or annotation == "bool | None":
        return "" if isinstance(value, bool) or value is default else "true or false"
    if isinstance(default, tuple):
        fits = isinstance(value, (list, tuple)) and len(value) == len(default)
        fits = fits and all(item is None or isinstance(item, (int, float)) for item in value)
        return "" if fits else f"a list of {len(default)} numbers"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "a word"
    if annotation in ("int", "<class 'int'>"):
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    if annotation in ("float", "<class 'float'>", "float | torch.Tensor"):
        return "" if number or hasattr(value, "dtype") else "a number"
    if isinstance(default, (int, float)):
        listed = isinstance(value, (list, tuple)) and "list" in annotation
        return "" if number or listed or hasattr(value, "dtype") else "a number"
    return ""
