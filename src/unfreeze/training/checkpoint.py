"""Checkpoints: everything that a run needs to go on, or a user to classify clips, in one file.

Written to a temporary file that is then renamed, so that a file called ``last.pt`` is always whole, whatever
happens while it is written. Only plain data and tensors inside: ``torch.load(path, weights_only=True)`` reads
it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unfreeze.models import build_model
from unfreeze.preprocessing import Preprocessing
from unfreeze.training.config import plain

if TYPE_CHECKING:
    from unfreeze.models import VideoClassifier

FORMAT = 1
_KEYS = frozenset({"format", "version", "model", "config", "strategy", "epoch", "rows", "best"})


def describe_model(model: VideoClassifier, name: str, anatomy: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a checkpoint that says which model it is, weights included.

    Args:
        name: the backbone's name, as in ``--model``.
        anatomy: ``Anatomy.to_dict()``.
    """
    return {
        "name": name,
        "tasks": {task: list(classes) for task, classes in model.tasks.items()},
        "multilabel": sorted(model.multilabel),
        "views": model.views,
        "dropout": model.dropout.p,
        "preprocessing": model.preprocessing.to_dict(),
        "anatomy": plain(anatomy),
        "state": model.state_dict(),
    }


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` to ``path``, entirely or not at all; the old file stays until the new one is whole.

    Raises:
        OSError: the disk is full or the folder cannot be written to.
    """
    missing = _KEYS - content.keys()
    assert not missing, f"a checkpoint without {sorted(missing)}"
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        with suppress(OSError):
            temporary.unlink()
        raise OSError(
            f"cannot write the checkpoint {path}: {_reason(error)}; free space or fix the folder"
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, tensors on the CPU.

    Raises:
        ValueError: it is damaged, or no checkpoint of this package.
        OSError: it cannot be read.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the checkpoint in it, such as {path / 'best.pt'}")
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise PermissionError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    except Exception as error:  # a broken file can fail anywhere in zip, pickle or torch
        raise ValueError(f"{path} is damaged or no checkpoint: torch.load cannot read it") from error
    if not isinstance(content, dict) or not content.keys() >= _KEYS:
        raise ValueError(f"{path} is not a checkpoint of unfreeze; give the best.pt or last.pt of a run")
    if content["format"] != FORMAT:
        raise ValueError(
            f"{path} has checkpoint format {content['format']}, this unfreeze reads {FORMAT}; "
            f"use unfreeze {content['version']}, which wrote it"
        )
    return content


def load_for_inference(path: Path) -> tuple[VideoClassifier, dict[str, Any]]:
    """The trained model of a checkpoint, in evaluation mode, and the checkpoint's content.

    ``model.tasks`` are the class names and ``model.preprocessing`` says what clips must look like; nothing
    but the file is needed. Where weights were averaged, these are the averages.

    Raises:
        ValueError: it is damaged, or no checkpoint of this package.
        OSError: it cannot be read.
    """
    content = load_checkpoint(path)
    return rebuild_model(content, path, averaged=True).eval(), content


def rebuild_model(content: Mapping[str, Any], path: Path, *, averaged: bool = False) -> VideoClassifier:
    """The model that a checkpoint describes, with its weights and preprocessing.

    Args:
        path: for the message.
        averaged: with the averages in place of what was averaged, to classify rather than to train on.

    Raises:
        ValueError: the weights do not fit the model of that name.
    """
    described = content["model"]
    model = build_model(
        described["name"],
        described["tasks"],
        weights="none",
        log=lambda _: None,
        # what files of the first version do not say, they could not have otherwise
        multilabel=described.get("multilabel", ()),
        views=described.get("views", "mean"),
        dropout=described.get("dropout"),
    )
    # best.pt was saved with its averages in place; last.pt has them beside the weights that train on
    ema = content.get("training", {}).get("ema") if averaged else None
    averages = ema["averages"] if ema is not None else {}
    try:
        model.load_state_dict(described["state"] | averages)
    except RuntimeError as error:
        raise ValueError(f"{path}: its weights do not fit {described['name']}: {_reason(error)}") from error
    model.preprocessing = Preprocessing.from_dict(described["preprocessing"])
    return model


def _reason(error: Exception) -> str:
    """What went wrong, in one line."""
    cause: BaseException | None = error
    while cause is not None:  # torch says nothing of the full disk that it met; its error's context does
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return " ".join(str(error).split()) or type(error).__name__
