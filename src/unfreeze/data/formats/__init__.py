"""Data formats by name. Every module of this package but ``base`` is one, so a new format is one new file."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import cast

from unfreeze.data.formats.base import Format, Row, Table

__all__ = ["Format", "Row", "Table", "available", "recognise"]

_FORMATS: dict[str, Format] = {
    module.name: cast(Format, importlib.import_module(f"{__name__}.{module.name}"))
    for module in pkgutil.iter_modules(__path__)
    if module.name != "base"
}


def available() -> tuple[str, ...]:
    """The names of all formats, sorted."""
    return tuple(sorted(_FORMATS))


def recognise(source: Path) -> Format:
    """The format of ``source``, which exists.

    Raises:
        ValueError: none fits.
    """
    for name in available():
        if _FORMATS[name].recognises(source):
            return _FORMATS[name]
    known = "; ".join(_FORMATS[name].DESCRIPTION for name in available())
    raise ValueError(f"{source} is not a data set that can be read; there are: {known}")
