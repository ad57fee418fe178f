"""Data formats by name. Every module of this package is one, but for those named here, so a new format is one
new file.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import cast

from unfreeze.data.files import is_video
from unfreeze.data.formats.base import Format, Names, Row, Table
from unfreeze.options import nearest

__all__ = ["Format", "Names", "Row", "Table", "available", "get", "recognise"]

_SHARED = ("base", "columns")
# Any folder may be one of classes: that is what it is when nothing in it says otherwise.
_FALLBACK = "folder"
_OTHER_TABLES = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")

_FORMATS: dict[str, Format] = {
    module.name: cast(Format, importlib.import_module(f"{__name__}.{module.name}"))
    for module in pkgutil.iter_modules(__path__)
    if module.name not in _SHARED
}


def available() -> tuple[str, ...]:
    """The names of all formats, sorted."""
    return tuple(sorted(_FORMATS))


def get(name: str) -> Format:
    """The format of that name.

    Raises:
        ValueError: there is none; the message has the nearest one.
    """
    if name not in _FORMATS:
        known = ("auto", *available())
        raise ValueError(
            f"--data_format: no data format {name!r}{nearest(name, known)} (known: {', '.join(known)})"
        )
    return _FORMATS[name]


def recognise(source: Path) -> Format:
    """The format of ``source``, which exists.

    Raises:
        ValueError: none fits, or several do.
    """
    fits = [name for name in available() if _FORMATS[name].recognises(source)]
    if len(fits) > 1:
        fits = [name for name in fits if name != _FALLBACK]
    if len(fits) > 1:
        raise ValueError(f"{source} can be read as {' or as '.join(fits)}; choose one with --data_format")
    if not fits:
        if source.suffix.lower() in _OTHER_TABLES:
            raise ValueError(f"{source} is a spreadsheet, which is not read; save it as CSV in UTF-8")
        if is_video(source):
            raise ValueError(
                f"{source} is one video; name a folder with one subfolder per class, or a "
                f"table of videos and labels"
            )
        known = "; ".join(_FORMATS[name].DESCRIPTION for name in available())
        raise ValueError(f"{source} is not a data set that can be read; there are: {known}")
    return _FORMATS[fits[0]]
