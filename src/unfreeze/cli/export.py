"""``unfreeze export``: a trained checkpoint as a file that runs without this package."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.cli.flags import Group, flags_of
from unfreeze.cli.parser import parse
from unfreeze.cli.trained import CHECKPOINT_HELP, check_new, checkpoint_path, print_table, trained_data
from unfreeze.options import check_options, option

if TYPE_CHECKING:
    from torch import Tensor

    from unfreeze.models import VideoClassifier

SUMMARY = "write a trained checkpoint as a torch program or an ONNX file"


@dataclass(frozen=True)
class ExportConfig:
    """The flags of ``export``."""

    checkpoint: str = option(dataclasses.MISSING, CHECKPOINT_HELP)
    format: Literal["torch", "onnx"] = option(
        "torch", "torch is a program for torch.export.load (.pt2), onnx a graph for other runtimes (.onnx)"
    )
    output: str | None = option(None, "the file to write (default: beside the checkpoint, under its name)")
    clip: str | None = option(
        None, "a video to compare the exported model on (default: the run's first validation clip)"
    )

    def __post_init__(self) -> None:
        check_options(self, flag=lambda name: f"--{name}")


def run(argv: Sequence[str], program: str) -> int:
    """Write the model and its sidecar, and say how far it agrees with the checkpoint."""
    groups = (Group("export", flags_of(ExportConfig)),)
    config = ExportConfig(**parse(argv, groups, program=program, description=_description(program)))

    # torch takes its time; --help and wrong flags do not wait for it
    from unfreeze.training.checkpoint import load_for_inference
    from unfreeze.training.export import SUFFIXES, check_packages, export_model, sidecar

    path = checkpoint_path(config.checkpoint)
    suffix = SUFFIXES[config.format]
    output = Path(config.output) if config.output is not None else path.with_suffix(suffix)
    if output.suffix != suffix:
        raise ValueError(f"--output {output}: --format {config.format} writes {suffix} files; name one")
    for file in (output, sidecar(output)):
        check_new(file, "name another file, or remove it")
    check_packages(config.format)
    model, content = load_for_inference(path)
    source, clip = _clip(config, content, model)
    about = {"checkpoint": str(path), "epoch": content["epoch"], "checked_on": source}
    agreement = export_model(model, clip, output, config.format, about)
    print(f"{output} agrees with {path} (epoch {content['epoch']}) on {source}:")
    rows = [
        [task, f"{found.difference:.2g}", f"{found.allowed:.2g}", "same"] for task, found in agreement.items()
    ]
    print_table(["task", "max difference of logits", "allowed", "top-1"], rows, justify_right=True)
    print(f"Classes and preprocessing: {sidecar(output)}")
    return 0


def _clip(config: ExportConfig, content: Mapping[str, Any], model: VideoClassifier) -> tuple[str, Tensor]:
    """A real clip (C, T, H, W), as the model takes it, and the name of its file."""
    from unfreeze.data import ClipDataset, Sample, View

    if config.clip is not None:
        sample = Sample((View(Path(config.clip)),), "test", dict.fromkeys(model.tasks), row=config.clip)
    else:
        try:
            sample = trained_data(content, model).split("val")[0]
        except (ValueError, OSError, IndexError) as error:
            raise ValueError(
                f"no validation clip of {content['config'].get('data')} to compare on ({error}); "
                "name a video with --clip"
            ) from error
    dataset = ClipDataset([sample], model.tasks, model.preprocessing, train=False)
    return str(sample.path), dataset[1, 0]["video"][0]


def _description(program: str) -> str:
    return f"""\
Write a trained model as a file that runs without unfreeze, with class names and preprocessing in a JSON file
beside it. It takes clips (batch, channel, time, height, width), normalised, and gives logits per task.
Nothing is written unless it gives what the checkpoint gives on a real clip.

examples:
  {program} --checkpoint best
  {program} --checkpoint runs/NAME --format onnx --output model.onnx
  {program} --checkpoint best.pt --clip my_clip.mp4
"""
