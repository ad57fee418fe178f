"""A trained model as a file that runs without this package: a ``torch.export`` program or an ONNX graph.

Both take clips ``clips`` (B, C, T, H, W), float32 and normalised, and give logits per task. What an exporter
writes is believed only after it has given, on a real clip, what the model itself gives.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unfreeze import __version__

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from unfreeze.models import VideoClassifier

SUFFIXES: Mapping[str, str] = {"torch": ".pt2", "onnx": ".onnx"}
# In units of the largest logit, or of 1 where that is smaller: another order of the same float32 sums makes
# some 1e-6, another computation far more.
TOLERANCE = 1e-3
_PACKAGES: Mapping[str, tuple[str, ...]] = {"torch": (), "onnx": ("onnx", "onnxscript", "onnxruntime")}

Exported = Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Agreement:
    """How the logits of one task compare, exported and original.

    Attributes:
        difference: the largest absolute one.
        allowed: what it may be.
        same_top1: whether every clip has the same class on top; classes closer than ``allowed`` are equals.
    """

    difference: float
    allowed: float
    same_top1: bool

    @property
    def holds(self) -> bool:
        return self.difference <= self.allowed and self.same_top1


def check_packages(format: str) -> None:
    """Raises ValueError, naming it, where a package that ``format`` needs is not installed."""
    for package in _PACKAGES[format]:
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"--format {format} needs the package {package}: pip install 'unfreeze[export]'")


def export_model(
    model: VideoClassifier, clip: Tensor, path: Path, format: str, about: Mapping[str, Any]
) -> dict[str, Agreement]:
    """Write ``model`` to ``path``, and what must be known to use it to ``sidecar(path)``, or nothing at all.

    Args:
        clip: a real one, (C, T, H, W), normalised, on which the exported model must agree with ``model``.
        format: a key of ``SUFFIXES``.
        about: further plain data for the sidecar, such as where the model comes from.

    Returns:
        How far the two agree, per task.

    Raises:
        ValueError: a package is missing, the model cannot be exported, or the exported one does not agree.
        OSError: a file cannot be written.
    """
    check_packages(format)
    was_training = model.training
    model.eval()
    try:
        with (
            torch.no_grad(),
            warnings.catch_warnings(),
            # beside the target, so that the finished file only has to be renamed
            tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder,
        ):
            warnings.simplefilter("ignore")  # of exporters about themselves; what matters is checked below
            draft = Path(folder) / f"model{SUFFIXES[format]}"
            program, any_batch = _program(model, clip, format)
            opset = _write(program, model, draft, format, any_batch)
            agreement = compare(model, _reader(draft, model, format), clip, any_batch)
            _refuse_disagreement(agreement, format)
            described = _description(model, format, clip, agreement, opset, any_batch)
            notes = draft.with_name("model.json")
            notes.write_text(json.dumps(described | dict(about), indent=2) + "\n", encoding="utf-8")
            os.replace(draft, path)
            os.replace(notes, sidecar(path))
    finally:
        model.train(was_training)
    return agreement


def sidecar(path: Path) -> Path:
    """The JSON file beside an exported model."""
    return path.with_name(f"{path.name}.json")  # one for each format


def compare(model: nn.Module, exported: Exported, clip: Tensor, any_batch: bool) -> dict[str, Agreement]:
    """Logits of ``exported`` against those of ``model``, per task, on a clip (C, T, H, W).

    A file of any batch size is also given the clip together with its reversal in time, so that a batch
    of another size than the traced one, and two clips that differ, are seen.
    """
    batches = [clip[None]] + ([torch.stack([clip, clip.flip(1), clip])] if any_batch else [])
    found: dict[str, list[Agreement]] = {}
    for batch in batches:
        given = exported(batch)
        for task, logits in model(batch).items():
            found.setdefault(task, []).append(_agreement(logits, given[task]))
    return {
        task: Agreement(
            max(one.difference for one in of_task),
            min(one.allowed for one in of_task),
            all(one.same_top1 for one in of_task),
        )
        for task, of_task in found.items()
    }


def _agreement(logits: Tensor, given: Tensor) -> Agreement:
    """Of one task and one batch: (B, classes) both."""
    if given.shape != logits.shape:
        return Agreement(math.inf, 0.0, False)
    allowed = TOLERANCE * max(1.0, float(logits.abs().max()))
    # a maximum may lose a NaN, which agrees with nothing
    difference = float((given - logits).abs().nan_to_num(math.inf).max())
    chosen = logits.gather(1, given.argmax(1, keepdim=True))
    same = bool((logits.max(1, keepdim=True).values - chosen <= allowed).all())
    return Agreement(difference, allowed, same)


def _refuse_disagreement(agreement: Mapping[str, Agreement], format: str) -> None:
    for task, found in agreement.items():
        if not found.holds:
            top = "the same" if found.same_top1 else "another"
            raise ValueError(
                f"the exported model does not agree with the checkpoint: task {task!r} differs by up to "
                f"{found.difference:.3g} (allowed: {found.allowed:.3g}), with {top} class on top; nothing "
                f"was written; use another --format than {format}"
            )


def _program(model: nn.Module, clip: Tensor, format: str) -> tuple[ExportedProgram, bool]:
    """The traced model, and whether it takes batches of any size; else it takes one clip at a time."""
    from torch.export import Dim, export

    try:
        pair = torch.stack([clip, clip])
        return export(model, (pair,), dynamic_shapes=({0: Dim("batch")},)), True
    except Exception:  # the exporters raise what they like; a model may be bound to one batch size
        try:
            return export(model, (clip[None],)), False
        except Exception as error:
            raise ValueError(f"the model cannot be exported as {format}: {_first_line(error)}") from error


def _write(
    program: ExportedProgram, model: VideoClassifier, path: Path, format: str, any_batch: bool
) -> int | None:
    """Write the file; the version of ONNX's operators that it uses."""
    if format == "torch":
        torch.export.save(program, path)
        return None
    try:
        written = torch.onnx.export(
            program,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},) if any_batch else None,
            input_names=["clips"],
            output_names=[_output(task) for task in model.tasks],
            verbose=False,
        )
        assert written is not None
        written.save(str(path))
    except Exception as error:
        raise ValueError(f"the model cannot be exported as {format}: {_first_line(error)}") from error
    return int(written.model.opset_imports[""])


def _reader(path: Path, model: VideoClassifier, format: str) -> Exported:
    """The model in the file, as somebody else would load it."""
    if format == "torch":
        return torch.export.load(path).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(clips: Tensor) -> dict[str, Tensor]:
        logits = session.run([_output(task) for task in model.tasks], {"clips": clips.numpy()})
        return {task: torch.from_numpy(values) for task, values in zip(model.tasks, logits, strict=True)}

    return run


def _output(task: str) -> str:
    """A task's name in an ONNX graph, where it must not meet that of the input or of a value in between."""
    return f"logits/{task}"


def _description(
    model: VideoClassifier,
    format: str,
    clip: Tensor,
    agreement: Mapping[str, Agreement],
    opset: int | None,
    any_batch: bool,
) -> dict[str, Any]:
    packages = ("torch", *_PACKAGES[format])
    return {
        "format": format,
        "model": model.name,
        "input": {
            "name": "clips",
            "shape": ["batch" if any_batch else 1, *clip.shape],
            "axes": ["batch", "channel", "time", "height", "width"],
            "type": "float32",
        },
        "outputs": {
            task: {
                "name": _output(task) if format == "onnx" else task,
                "classes": list(classes),
                "multilabel": task in model.multilabel,
                "probabilities": "sigmoid" if task in model.multilabel else "softmax",
                "max_difference": agreement[task].difference,
            }
            for task, classes in model.tasks.items()
        },
        "preprocessing": model.preprocessing.to_dict(),
        "opset": opset,
        "versions": {"unfreeze": __version__} | {name: version(name) for name in packages},
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
