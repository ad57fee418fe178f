"""``unfreeze check``: what is wrong with the data, what a run would take, and a command to train with."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.cli.flags import Group, flags_of
from unfreeze.cli.parser import parse
from unfreeze.cli.strategy import choose, is_strategy_flag
from unfreeze.cli.train import groups as groups_of_train
from unfreeze.cli.trained import print_table
from unfreeze.options import check_options, option
from unfreeze.training.config import TrainConfig, resolve

if TYPE_CHECKING:
    from unfreeze.data import Manifest
    from unfreeze.data.survey import Findings, Survey
    from unfreeze.models import VideoClassifier
    from unfreeze.strategies import Strategy
    from unfreeze.training.estimate import Estimate
    from unfreeze.training.suggestion import Suggestion

SUMMARY = "look at every file before training, and estimate what a run takes"

# flags of a run that has begun, which say nothing about its data or its size
_NOT_HERE = frozenset({"resume", "run_dir", "output"})
_SHOWN = 10  # lines of a finding in the table; JSON has all
_CLIPS_SHOWN = 4
_LOOKS = 3  # at each clip of the sheet, as training varies it


@dataclass(frozen=True)
class CheckConfig:
    """The flags of ``check`` beside those of ``train``."""

    show: str | None = option(
        None, "a PNG file: what the model sees of some clips, before and after augmentation"
    )
    json: str | None = option(None, "a file for all that was found, as JSON")
    format: Literal["table", "json"] = option("table", "how to print it")

    def __post_init__(self) -> None:
        check_options(self, flag=lambda name: f"--{name}")


@dataclass(frozen=True)
class Checked:
    """All that the command found out."""

    manifest: Manifest
    survey: Survey
    found: Findings
    stops: str  # the error that training would end with, or nothing
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


def run(argv: Sequence[str], program: str) -> int:
    """Print what was found on stdout; everything else goes to stderr."""
    own = Group("check", flags_of(CheckConfig))
    groups = (own, *_groups())
    given = parse(argv, groups, program=program, description=_description(program), reads_config=True)
    names = {flag.name for flag in own.flags}
    flags = CheckConfig(**{name: value for name, value in given.items() if name in names})
    rest = {name: value for name, value in given.items() if name not in names}
    strategy = choose(rest)
    config = TrainConfig(**{name: value for name, value in rest.items() if not is_strategy_flag(name)})
    config = resolve(config, strategy)
    if config.check == "none":
        raise ValueError("--check none leaves nothing to look at; say full or quick")

    # torch takes its time; --help and wrong flags do not wait for it
    from unfreeze.report.console import RunConsole

    words = _words_of_train(argv, names)
    checked = check(config, strategy, RunConsole(sys.stderr), flags.show, words, _train(program))
    if flags.json is not None:
        Path(flags.json).write_text(json.dumps(checked.to_dict(), indent=2) + "\n", encoding="utf-8")
    if flags.format == "json":
        print(json.dumps(checked.to_dict(), indent=2))
    else:
        _print(checked)
    return checked.code


def check(
    config: TrainConfig,
    strategy: Strategy,
    console: Any,
    show: str | None,
    words: Sequence[str],
    program: str,
) -> Checked:
    """Look at the data and try out a run, without training.

    Raises:
        ValueError: flags or data that training would refuse before it looks at files.
        OSError: a file cannot be read or written.
    """
    from unfreeze.data.survey import findings
    from unfreeze.training.assembly import load_data, make_model
    from unfreeze.training.bad_files import most_bad, watched_survey, without_bad
    from unfreeze.training.early import check_early
    from unfreeze.training.suggestion import command, suggest

    check_early(config)
    most_bad(config.max_bad, 0)
    manifest = load_data(config, console)
    # Pretrained values change no figure here, and downloading them would make a check wait.
    weights = "none" if config.weights == "default" else config.weights
    model = make_model(dataclasses.replace(config, weights=weights), manifest, lambda line: None)
    survey = watched_survey(manifest.samples, config, console)
    found = findings(survey, manifest, model.preprocessing)
    stops = ""
    try:
        without_bad(manifest, survey, max_bad=config.max_bad, allow_bad=config.allow_bad or ())
    except ValueError as error:
        stops = str(error)
    estimate = None
    good = _good(manifest, survey)
    if good is not None:
        if show is not None:
            _draw(config, good, model, Path(show))
            console.print(f"What the model sees: {show}")
        console.print("Trying out a batch")
        estimate = _estimate(config, strategy, good, model, survey)
    suggestion = suggest(config, manifest, survey, found, model.preprocessing, estimate)
    text = shlex.join(command(program, words, suggestion)[1:])
    return Checked(manifest, survey, found, stops, estimate, suggestion, f"{program} {text}".strip())


def _good(manifest: Manifest, survey: Survey) -> Manifest | None:
    """The readable part of the data, or None where that is nothing to train on."""
    from unfreeze.training.bad_files import without_bad

    names = [str(report.path) for report in survey.bad]
    outside = [str(view.path) for sample in manifest.samples for view in sample.views if view.start]
    try:
        return without_bad(manifest, survey, max_bad="100%", allow_bad=(*names, *outside))[0]
    except ValueError:
        return None


def _estimate(
    config: TrainConfig, strategy: Strategy, manifest: Manifest, model: VideoClassifier, survey: Survey
) -> Estimate:
    from unfreeze.training.assembly import assemble, make_loaders, optimizer_steps
    from unfreeze.training.device import pick_device
    from unfreeze.training.estimate import estimate
    from unfreeze.training.metrics import check_monitor

    device = pick_device(config.device)
    mode = check_monitor(config.monitor, tuple(manifest.tasks), manifest.multilabel)
    loaders = make_loaders(config, manifest, model, device)
    steps = optimizer_steps(loaders[0], config)
    made = assemble(config, strategy, model, device, mode=mode, steps_per_epoch=steps)
    return estimate(made, config, strategy, loaders, survey, mode=mode)


def _draw(config: TrainConfig, manifest: Manifest, model: VideoClassifier, path: Path) -> None:
    """The contact sheet: a few training clips, evenly spread, each as evaluation and as training has it."""
    from unfreeze.data.manifest import indices_of
    from unfreeze.report.contact_sheet import SheetClip, Strip, contact_sheet, pictures
    from unfreeze.training.assembly import make_dataset

    dataset = make_dataset(config, manifest, model, "train", train=True)
    plain = make_dataset(
        dataclasses.replace(config, eval_clips=1, eval_crops="1"), manifest, model, "train", train=False
    )
    count = len(dataset)
    clips = []
    for index in sorted({round(i * (count - 1) / max(_CLIPS_SHOWN - 1, 1)) for i in range(_CLIPS_SHOWN)}):
        sample = dataset.samples[index]
        strips = [
            Strip("decoded", plain.frames(1, index)[0]),
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


def _groups() -> tuple[Group, ...]:
    """The flags of ``train`` that matter before a run."""
    return tuple(
        dataclasses.replace(group, flags=tuple(flag for flag in group.flags if flag.name not in _NOT_HERE))
        for group in groups_of_train()
    )


def _words_of_train(argv: Sequence[str], own: set[str]) -> list[str]:
    """What the user wrote, without the flags that only ``check`` has."""
    words, keeping = [], True
    for word in argv:
        if word.startswith("--"):
            keeping = word[2:].split("=")[0] not in {*own, "debug"}
        if keeping:
            words.append(word)
    return words


def _train(program: str) -> str:
    return f"{program.removesuffix(' check')} train"


def _print(checked: Checked) -> None:
    found, survey = checked.found, checked.survey
    good = len(survey.reports) - len(survey.bad)
    print(f"{checked.manifest.source}: {len(checked.manifest.samples)} samples, {good} good files")
    for note in checked.manifest.notes:
        print(note)
    _print_classes(checked)
    _print_histograms(found)
    _print_findings(checked)
    _print_estimate(checked.estimate)
    print()
    if checked.stops:
        print(f"Training would stop: {checked.stops}")
    for reason in checked.suggestion.reasons:
        print(f"- {reason}")
    print(f"{'Then train' if checked.code == 2 else 'Train'}: {checked.command}")


def _print_classes(checked: Checked) -> None:
    splits = [split for split in ("train", "val", "test") if checked.manifest.split(split)]
    for task, classes in checked.found.classes.items():
        ratio = checked.found.imbalance[task]
        print(
            f"\n{task}: {len(classes)} classes, in train {ratio:.1f} of the most frequent for one of the rarest"
        )
        rows = [[name, *(str(counts[split]) for split in splits)] for name, counts in classes.items()]
        print_table(["class", *splits], rows, justify_right=True)


def _print_histograms(found: Findings) -> None:
    from unfreeze.training.estimate import in_bytes

    _print_bars("seconds", found.lengths.lines(lambda value: f"{value:.1f}"))
    _print_bars("size of the file", found.sizes.lines(in_bytes))
    if found.pictures:
        most = [f"{count} of {width}x{height}" for (width, height), count in list(found.pictures.items())[:5]]
        rest = len(found.pictures) - len(most)
        print(f"\npictures: {', '.join(most)}" + (f" and {rest} more sizes" if rest > 0 else ""))


def _print_bars(title: str, lines: Sequence[str]) -> None:
    from unfreeze.report.lines import plain

    if lines:
        print(f"\n{title}")
        for line in lines:
            print(f"  {plain(line, sys.stdout.encoding or 'ascii')}")


def _print_findings(checked: Checked) -> None:
    marks: Mapping[str, str] = {"stop": "STOP", "warn": "look", "note": "note"}
    print()
    if not checked.found.items:
        print("Nothing wrong was found")
    for item in checked.found.items:
        print(f"{marks[item.level]}: {item.title} ({len(item.lines)})")
        for line in item.lines[:_SHOWN]:
            print(f"  {line}")
        if len(item.lines) > _SHOWN:
            print(f"  and {len(item.lines) - _SHOWN} more (--format json has all)")


def _print_estimate(estimate: Estimate | None) -> None:
    print()
    if estimate is None:
        print("No estimate: without its bad files there is nothing to train on")
        return
    from unfreeze.training.estimate import in_bytes, in_seconds

    first, most = (in_seconds(seconds) for seconds in estimate.epoch)
    epoch = most if estimate.heaviest == 1 else f"{first}, and {most} in epoch {estimate.heaviest}"
    rows = [
        ["RAM", f"about {in_bytes(estimate.ram)}", estimate.ram_basis],
        [f"memory on {estimate.on}", f"about {in_bytes(estimate.device)}", estimate.device_basis],
        ["time per epoch", f"about {epoch}", estimate.epoch_basis],
        [
            "time of the run",
            f"at most about {in_seconds(estimate.run)}",
            "all epochs as the longest of these",
        ],
    ]
    print_table(["estimate", "", "what it rests on"], rows)
    print(estimate.clip_cache)


def _description(program: str) -> str:
    return f"""\
Look at every file of a data set before training: unreadable, truncated and short ones, variable frame rates,
the same content twice or in two splits, classes and splits, lengths and sizes; then estimate memory and time
of the run that these flags ask for, and suggest a command. What is found out of a file is kept until it
changes, and training uses it. Takes the flags of train, and nothing is trained.

exit status:
  0  nothing to look at
  1  something to look at: bad files within --max_bad, duplicates, short clips …
  2  training would stop (too many bad files), or measure nonsense (the same content or group in two splits)

examples:
  {program} --data my_clips/
  {program} --data my_clips/ --model r3d_18 --show sheet.png
  {program} --data labels.csv --check quick --format json > check.json
"""
