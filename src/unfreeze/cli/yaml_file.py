"""Reading YAML files that people write: every error has the file, the line and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def load_yaml(path: Path) -> Any:
    """The data of a YAML file.

    Raises:
        ValueError: there is no such file, or it is not YAML; the message has the line.
        OSError: the file cannot be read.
    """
    return _load(path)[0]


def load_keys(path: Path) -> dict[str, tuple[Any, int]]:
    """The keys of a YAML mapping, which may be empty: key -> (value, line from 1).

    Raises:
        ValueError: as ``load_yaml``; the file holds something else than a mapping, or a key twice.
        OSError: the file cannot be read.
    """
    values, root = _load(path)
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path}: expected lines such as 'epochs: 30', not a {type(values).__name__}")
    lines: dict[str, int] = {}
    for key, _ in root.value:
        line = key.start_mark.line + 1
        if key.value in lines:
            raise ValueError(f"{path}:{line}: {key.value} is given twice (first on line {lines[key.value]})")
        lines[key.value] = line
    return {str(key): (value, lines.get(str(key), 1)) for key, value in values.items()}


def _load(path: Path) -> tuple[Any, yaml.Node | None]:
    """The data, and the node tree that knows the lines."""
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; check the path") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder; name a YAML file, such as {path / 'config.yaml'}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error.reason} at byte {error.start}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        raise ValueError(f"{where}: this is not YAML: {problem}; correct the line") from error
