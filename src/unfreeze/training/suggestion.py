"""A command to train with: what the user asked for, with what the check found better, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from unfreeze.data.manifest import Manifest
from unfreeze.data.survey import Findings, Survey
from unfreeze.preprocessing import Preprocessing
from unfreeze.training.config import TrainConfig
from unfreeze.training.estimate import Estimate
from unfreeze.wording import in_bytes, in_seconds

UNEVEN = 3.0  # clips of the most frequent class for one of the rarest, above which a remedy is suggested
_SHORT = 0.5  # share of the clips that are too short, above which a faster rate is suggested
_LONG_EPOCH = 3600.0  # seconds


@dataclass(frozen=True)
class Suggestion:
    """Flags beside those that the user wrote, and why.

    Attributes:
        flags: flag -> its words; one that the user wrote too replaces it.
        reasons: one line each.
    """

    flags: dict[str, tuple[str, ...]]
    reasons: tuple[str, ...]


def suggest(
    config: TrainConfig,
    manifest: Manifest,
    survey: Survey,
    found: Findings,
    preprocessing: Preprocessing,
    estimate: Estimate | None,
) -> Suggestion:
    """What to change. Nothing is measured here."""
    flags: dict[str, tuple[str, ...]] = {}
    reasons: list[str] = []
    uneven = {task: ratio for task, ratio in found.imbalance.items() if ratio > UNEVEN}
    if uneven and config.balance == ("none",):
        flags["balance"] = tuple(f"{task}=weights" for task in uneven)
        shown = ", ".join(f"{task} {ratio:.1f}:1" for task, ratio in uneven.items())
        reasons.append(f"--balance: classes are uneven in train ({shown})")
    rate = _faster(config, manifest, survey, preprocessing)
    if rate is not None and preprocessing.fps is not None:
        flags["fps"] = (f"{rate:g}",)
        reasons.append(
            f"--fps: most clips are shorter than the {preprocessing.frames / preprocessing.fps:.1f} seconds "
            f"that {preprocessing.frames} frames take at {preprocessing.fps:g} per second"
        )
    if estimate is not None:
        _fit(config, estimate, flags, reasons)
    return Suggestion(flags, tuple(reasons))


def _fit(
    config: TrainConfig, estimate: Estimate, flags: dict[str, tuple[str, ...]], reasons: list[str]
) -> None:
    """Flags that suit the machine."""
    fits = estimate.batch_that_fits(config.batch_size)
    if fits < config.batch_size and estimate.free is not None:
        flags["batch_size"] = (str(fits),)
        flags["accumulate"] = (str(config.accumulate * math.ceil(config.batch_size / fits)),)
        reasons.append(
            f"--batch_size and --accumulate: {config.batch_size} clips would take about "
            f"{in_bytes(estimate.device)} of the {in_bytes(estimate.free)} that are free; steps stay the same"
        )
    if estimate.on != "cpu" and config.model.endswith("_micro"):
        reasons.append(
            f"{config.model} is made for a processor; on this {estimate.on}, check --model mvit_v2_s too"
        )
    elif max(estimate.epoch) > _LONG_EPOCH:
        reasons.append(
            f"an epoch takes about {in_seconds(max(estimate.epoch))} here; a smaller --model, fewer --frames "
            f"or a strategy that thaws less would take less"
        )


def _faster(config: TrainConfig, manifest: Manifest, survey: Survey, p: Preprocessing) -> float | None:
    """Frames per second at which the clip of half of the views is long enough; None where it is already."""
    if p.fps is None or config.fps is not None or config.frames is not None:
        return None
    lengths = []
    for sample in manifest.split("train"):
        for view in sample.views:
            report = survey.reports.get(view.path)
            if report is not None and report.ok:
                end = report.seconds if view.end is None else min(view.end, report.seconds)
                lengths.append(end - (view.start or 0.0))
    short = [seconds for seconds in lengths if seconds * p.fps < p.frames - 0.5]
    if not short or len(short) <= _SHORT * len(lengths) or median(lengths) <= 0:
        return None
    return float(math.ceil(p.frames / median(lengths)))


def command(program: str, words: Sequence[str], suggestion: Suggestion) -> list[str]:
    """The words of a training command: ``words``, with flags of the suggestion in place of the user's own."""
    kept: list[str] = []
    keeping = True
    for word in words:
        if word.startswith("--"):
            name = word[2:].split("=")[0].split(".")[0]
            keeping = name not in suggestion.flags
        if keeping:
            kept.append(word)
    new = [part for name, values in suggestion.flags.items() for part in (f"--{name}", *values)]
    return [program, *kept, *new]
