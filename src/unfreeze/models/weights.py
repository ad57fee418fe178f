"""Weights: found, read, and fitted to a backbone, or one line that says why not."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze.models.registry import BACKBONES, PRETRAINED, Backbone
from unfreeze.options import nearest
from unfreeze.preprocessing import Preprocessing

KEYWORDS = ("default", "none")
_SUFFIXES = (".pth", ".pt", ".safetensors")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "state")  # keys under which files keep a state dict
_PREFIXES = ("module.", "model.")  # DataParallel and DDP; Lightning modules
_SHOWN = 5  # names of each kind that an error lists


@dataclass(frozen=True)
class Weights:
    """A state dict in the layout of a torchvision network, without its classifier.

    Attributes:
        state: parameters and buffers by name.
        source: what a message calls them: a file's name.
        classifier: what was left out, in words (``the classifier fc (400 classes)``), or the empty string.
        preprocessing: what they expect, where the file itself says so.
    """

    state: Mapping[str, Tensor]
    source: str
    classifier: str
    preprocessing: Preprocessing | None = None


def read_weights(row: Backbone, weights: str | Path) -> Weights | None:
    """The weights that ``--weights`` names, or None for ``none``.

    Raises:
        ValueError: a file of another kind, damaged, or of another backbone.
        OSError: not there, not readable, or not to be downloaded.
    """
    if weights == "none":
        return None
    if weights == "default":
        return _shipped(row) if row.shipped else _without_classifier(row, *_download(row))
    path = Path(weights)
    content = _read(path)
    described = content.get("model")
    if isinstance(described, Mapping) and {"name", "state"} <= described.keys():
        return _from_checkpoint(row, described, str(path))
    return _without_classifier(row, _state_dict(content, path), str(path))


def fit(network: nn.Module, weights: Weights, row: Backbone) -> None:
    """Load weights into a network whose classifier is gone.

    Raises:
        ValueError: missing, unexpected or differently shaped entries; the message lists them.
    """
    expected = network.state_dict()
    # BatchNorm counted no batches before torch 0.4.1; torch itself fills the counter in
    absent = [key for key in expected if key not in weights.state]
    missing = [key for key in absent if not key.endswith(".num_batches_tracked")]
    unexpected = [key for key in weights.state if key not in expected]
    shapes = [
        f"{key} {tuple(weights.state[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in weights.state and weights.state[key].shape != tensor.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    problems = [f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds if names]
    if problems:
        owner = _owner(weights.state)
        remedy = f"they fit --model {owner}" if owner else "name the model that they belong to with --model"
        raise ValueError(
            f"{weights.source} does not fit {row.name}: {'; '.join(problems)}; "
            f"give weights of {row.name}, or {remedy}"
        )
    network.load_state_dict(dict(weights.state), strict=not absent)


def _owner(state: Mapping[str, Tensor]) -> str | None:
    """The backbone that these weights do fit, if any."""
    for row in BACKBONES.values():
        with torch.device("meta"):
            network = row.build().state_dict()
        shapes = {key: t.shape for key, t in network.items() if not key.startswith(row.classifier + ".")}
        rest = {key: t.shape for key, t in state.items() if not key.startswith(row.classifier + ".")}
        if shapes == rest:
            return row.name
    return None


def _shipped(row: Backbone) -> Weights:
    path = PRETRAINED / f"{row.name}.safetensors"
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    preprocessing = Preprocessing.from_dict(card["preprocessing"])
    return _without_classifier(row, _state_dict(_read(path), path), path.name, preprocessing)


def _download(row: Backbone) -> tuple[Mapping[str, Tensor], str]:
    chosen = row.default_weights()
    source = chosen.url.rsplit("/", 1)[-1]
    try:
        state = chosen.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, HTTPException, RuntimeError, pickle.UnpicklingError) as error:  # or a damaged cache
        raise OSError(
            f"cannot download {source} ({_reason(error)}); download it elsewhere and give its path with "
            "--weights, or train from scratch with --weights none"
        ) from error
    return state, source


def _read(path: Path) -> Mapping[str, Any]:
    if path.is_dir():
        raise ValueError(f"--weights {path} is a folder; give a file ({', '.join(_SUFFIXES)})")
    if not path.exists():
        folder = path.parent.iterdir() if path.parent.is_dir() else ()
        files = (entry for entry in folder if entry.suffix in _SUFFIXES)
        there = [*KEYWORDS, *(str(path.with_name(file.name)) for file in files)]
        raise FileNotFoundError(f"there is no weights file {path}{nearest(str(path), there)}")
    if path.suffix not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise ValueError(f"--weights {path}: weights are {known} files, or {' or '.join(KEYWORDS)}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise PermissionError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # a broken file can fail anywhere in zip, pickle, torch or safetensors
        raise ValueError(
            f"{path} is damaged, or holds more than tensors and plain data, which is not loaded for safety; "
            "save it anew as a state dict (.safetensors or torch.save(model.state_dict(), …))"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a state dict")
    return content


def _state_dict(content: Mapping[str, Any], path: Path) -> Mapping[str, Tensor]:
    """The state dict inside a file, without the wrappers of training programs."""
    while True:
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    others = [str(key) for key, t in content.items() if not (isinstance(key, str) and isinstance(t, Tensor))]
    if others or not content:
        what = f"{_some(others)} is no named tensor" if others else "it is empty"
        raise ValueError(f"{path} holds no state dict: {what}")
    # torch.compile, of the model or of modules inside it
    state: dict[str, Tensor] = {key.replace("_orig_mod.", ""): tensor for key, tensor in content.items()}
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _without_classifier(
    row: Backbone, state: Mapping[str, Tensor], source: str, preprocessing: Preprocessing | None = None
) -> Weights:
    prefix = row.classifier + "."
    old = [tensor for key, tensor in state.items() if key.startswith(prefix) and tensor.ndim > 1]
    rest = {key: tensor for key, tensor in state.items() if not key.startswith(prefix)}
    said = f"the classifier {row.classifier} ({len(old[-1])} classes)" if old else ""
    return Weights(rest, source, said, preprocessing)


def _from_checkpoint(row: Backbone, described: Mapping[str, Any], source: str) -> Weights:
    """A checkpoint of this package: its backbone, and the preprocessing that it was trained with."""
    if described["name"] != row.name:
        raise ValueError(f"{source} is a checkpoint of {described['name']}, not of {row.name}")
    prefix = "backbone."
    state = {key.removeprefix(prefix): t for key, t in described["state"].items() if key.startswith(prefix)}
    old = ", ".join(f"{task} ({len(classes)})" for task, classes in described["tasks"].items())
    return Weights(state, source, f"the heads {old}", Preprocessing.from_dict(described["preprocessing"]))


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(reason).splitlines()[0] if str(reason) else type(error).__name__
