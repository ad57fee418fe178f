"""Look at data and try out a run without training: the work behind ``unfreeze check``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unfreeze.data import Manifest
from unfreeze.data.manifest import indices_of
from unfreeze.data.survey import Findings, Survey, findings
from unfreeze.models import VideoClassifier
from unfreeze.report.console import RunConsole
from unfreeze.report.contact_sheet import SheetClip, Strip, contact_sheet, pictures
from unfreeze.strategies import Strategy
from unfreeze.training.assembly import assemble, make_model, optimizer_steps
from unfreeze.training.bad_files import most_bad, survey_line, watched_survey, without_bad
from unfreeze.training.clips import load_data, make_dataset, make_loaders
from unfreeze.training.config import TrainConfig
from unfreeze.training.device import pick_device
from unfreeze.training.early import check_early
from unfreeze.training.estimate import Estimate, estimate
from unfreeze.training.metrics import check_monitor
from unfreeze.training.suggestion import Suggestion, command, suggest

_CLIPS_SHOWN = 4
_LOOKS = 3  # at each clip of the sheet, as training varies it


@dataclass(frozen=True)
class Checked:
    """All that was found out.

    Attributes:
        stops: why not to train like this, in one line, or nothing.
        estimate: None where no file is left to train on, or the model does not fit.
        command: to train with, for a shell.
    """

    manifest: Manifest
    survey: Survey
    found: Findings
    stops: str
    estimate: Estimate | None
    suggestion: Suggestion
    command: str

    @property
    def code(self) -> int:
        """The exit code: 2 where training would stop or measure nonsense, 1 where the user should look."""
        worst = self.found.worst()
        return 2 if self.stops or worst == "stop" else int(worst == "warn")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "data": self.manifest.source,
            "code": self.code,
            "stops": self.stops or None,
            "notes": list(self.manifest.notes),
            "mode": self.survey.mode,
            **self.found.to_dict(),
            "estimate": None if self.estimate is None else self.estimate.to_dict(),
            "suggestion": {"command": self.command, "reasons": list(self.suggestion.reasons)},
            "files": [report.to_dict() for report in self.survey.reports.values()],
        }


def check(
    config: TrainConfig,
    strategy: Strategy,
    console: RunConsole,
    show: str | None,
    words: Sequence[str],
    program: str,
) -> Checked:
    """Look at every file of the data, and try out a batch of the run that ``config`` asks for.

    Args:
        config: with epochs and learning rates resolved.
        show: where to draw what the model sees, or None.
        words: flags as the user wrote them, for the command to train with.
        program: what that command begins with: ``unfreeze train``.

    Raises:
        ValueError: flags or data that training would refuse before it looks at files.
        OSError: a file cannot be read or written.
    """
    check_early(config)
    most_bad(config.max_bad, 0)
    manifest = load_data(config, console)
    # Pretrained values change no figure here, and downloading them would make a check wait.
    weights = "none" if config.weights == "default" else config.weights
    model = make_model(replace(config, weights=weights), manifest, lambda line: None)
    survey = watched_survey(manifest.samples, config, console)
    console.print(survey_line(survey))
    found = findings(survey, manifest, model.preprocessing)
    stops = ""
    try:
        without_bad(manifest, survey, max_bad=config.max_bad, allow_bad=config.allow_bad or ())
    except ValueError as error:
        stops = str(error)
    taken = None
    good = _good(manifest, survey)
    if good is not None:
        if show is not None:
            _draw(config, good, model, Path(show))
            console.print(f"What the model sees: {show}")
        console.print("Trying out a batch")
        try:
            taken = _estimate(config, strategy, good, model, survey)
        except torch.OutOfMemoryError:
            stops = stops or (
                f"--model {config.model}: two clips of {model.preprocessing.frames} frames do not fit into "
                f"the memory of the device; choose a smaller model or fewer --frames"
            )
    suggestion = suggest(config, manifest, survey, found, model.preprocessing, taken)
    text = shlex.join(command(program, words, suggestion)[1:])
    return Checked(manifest, survey, found, stops, taken, suggestion, f"{program} {text}".strip())


def _good(manifest: Manifest, survey: Survey) -> Manifest | None:
    """The readable part of the data, or None where that is nothing to train on."""
    names = [str(report.path) for report in survey.bad]
    outside = [str(view.path) for sample in manifest.samples for view in sample.views if view.start]
    try:
        return without_bad(manifest, survey, max_bad="100%", allow_bad=(*names, *outside))[0]
    except ValueError:
        return None


def _estimate(
    config: TrainConfig, strategy: Strategy, manifest: Manifest, model: VideoClassifier, survey: Survey
) -> Estimate:
    device = pick_device(config.device)
    mode = check_monitor(config.monitor, tuple(manifest.tasks), manifest.multilabel)
    loaders = make_loaders(config, manifest, model.preprocessing, device)
    steps = optimizer_steps(loaders[0], config)
    made = assemble(config, strategy, model, device, mode=mode, steps_per_epoch=steps)
    return estimate(made, config, strategy, loaders, survey, mode=mode)


def _draw(config: TrainConfig, manifest: Manifest, model: VideoClassifier, path: Path) -> None:
    """The contact sheet: a few training clips, evenly spread, each as evaluation and as training has it."""
    dataset = make_dataset(config, manifest, model.preprocessing, "train", train=True)
    plain = make_dataset(
        replace(config, eval_clips=1, eval_crops="1"), manifest, model.preprocessing, "train", train=False
    )
    count = len(dataset)
    clips = []
    for index in sorted({round(i * (count - 1) / max(_CLIPS_SHOWN - 1, 1)) for i in range(_CLIPS_SHOWN)}):
        sample = dataset.samples[index]
        strips = [
            Strip("resized", plain.frames(1, index)[0]),
            Strip("evaluation", pictures(plain[1, index]["video"][0], model.preprocessing)),
        ]
        for epoch in range(1, _LOOKS + 1):
            video = dataset[epoch, index]["video"][0]
            strips.append(Strip(f"{config.augment}, epoch {epoch}", pictures(video, model.preprocessing)))
        labels = {
            task: None if label is None else ", ".join(manifest.tasks[task][i] for i in indices_of(label))
            for task, label in sample.labels.items()
        }
        clips.append(SheetClip(sample.path.name, labels, strips))
    contact_sheet(clips, path)
