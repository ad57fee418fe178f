"""What a flag is: a dataclass field declared with ``option``, which says everything about it once."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

NEEDED = dataclasses.MISSING
_SIGNS = {"ge": ">=", "gt": ">", "lt": "<", "le": "<="}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Flag:
    """One flag: name without dashes, type hint, default (``NEEDED`` if there is none) and help text.

    ``from_yaml`` makes the value of plain data: on the command line such a flag names a YAML file.
    """

    name: str
    type: Any
    default: Any
    help: str
    from_yaml: Callable[[Any], Any] | None = None

    @property
    def is_switch(self) -> bool:
        return bool in self._parts()

    @property
    def is_mapping(self) -> bool:
        return any((typing.get_origin(part) or part) in (dict, Mapping) for part in self._parts())

    @property
    def is_list(self) -> bool:
        return self.from_yaml is None and any(typing.get_origin(p) in (list, tuple) for p in self._parts())

    @property
    def takes_none(self) -> bool:
        return type(None) in self._parts() or self.from_yaml is not None

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a ``Literal``, or nothing where any value will do."""
        literals = [part for part in self._parts() if typing.get_origin(part) is Literal]
        return tuple(str(choice) for part in literals for choice in typing.get_args(part))

    @property
    def expected(self) -> str:
        """The type in words, for error messages."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.is_mapping:
            return "a mapping such as '{betas: [0.9, 0.95]}'"
        if self.is_list:
            return "names"
        return " or ".join(
            _WORDS.get(p, getattr(p, "__name__", str(p))) for p in self._parts() if p is not type(None)
        )

    @property
    def metavar(self) -> str:
        if self.choices:
            return "{" + ",".join(self.choices) + "}"
        if self.from_yaml:
            return "FILE"
        if self.is_list:
            return "NAME"
        kinds = (int, "N"), (float, "X")
        return "YAML" if self.is_mapping else next((m for kind, m in kinds if kind in self._parts()), "TEXT")

    def _parts(self) -> tuple[Any, ...]:
        """The members of a union, or the type itself."""
        if typing.get_origin(self.type) in (typing.Union, types.UnionType):
            return typing.get_args(self.type)
        return (self.type,)


@dataclass(frozen=True)
class Group:
    """Flags under one title in ``--help``, with a line about them."""

    title: str
    flags: tuple[Flag, ...]
    about: str | None = None


def flags_of(cls: type, names: Callable[[str], str] = str) -> tuple[Flag, ...]:
    """The flags of a dataclass with fields declared by ``option``; ``names`` makes flags of field names."""
    hints = typing.get_type_hints(cls)
    return tuple(
        Flag(names(f.name), hints[f.name], f.default, _help(f), f.metadata.get("from_yaml"))
        for f in dataclasses.fields(cls)
        if "help" in f.metadata
    )


def shown(value: Any) -> str:
    """A value as a user would say it."""
    if value is None or (isinstance(value, (Mapping, list, tuple)) and not value):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)


def _help(f: dataclasses.Field[Any]) -> str:
    """The field's help and, where its text does not say it, the default and the bounds."""
    text = f.metadata["help"]
    notes = [f"default: {shown(f.default)}"] if f.default is not NEEDED and "default:" not in text else []
    notes += [
        f"{sign} {f.metadata[key]:g}" for key, sign in _SIGNS.items() if f.metadata.get(key) is not None
    ]
    return f"{text} ({', '.join(notes)})" if notes else text
