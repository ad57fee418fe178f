"""What ``unfreeze check`` prints."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence

from unfreeze.cli.trained import print_table
from unfreeze.data.survey import Findings
from unfreeze.report.lines import plain
from unfreeze.training.check import Checked
from unfreeze.training.estimate import Estimate
from unfreeze.wording import in_bytes, in_seconds

_WIDTH = 100  # of lines of running text
_SHOWN = 10  # lines of a finding; JSON has all


def print_report(checked: Checked) -> None:
    """Tables, findings, estimates and a command, on stdout."""
    found, survey = checked.found, checked.survey
    good = len(survey.reports) - len(survey.bad)
    print(f"{checked.manifest.source}: {len(checked.manifest.samples)} samples, {good} good files")
    for note in checked.manifest.notes:
        if note not in checked.manifest.doubts:  # those are among the findings
            print(note)
    _print_classes(checked)
    _print_histograms(found)
    _print_findings(checked)
    _print_estimate(checked.estimate)
    print()
    if checked.stops:
        print(f"STOP: {checked.stops}")
    for reason in checked.suggestion.reasons:
        print(f"- {reason}")
    print(f"{'Then train' if checked.code == 2 else 'Train'}: {checked.command}")


def _print_classes(checked: Checked) -> None:
    splits = [split for split in ("train", "val", "test") if checked.manifest.split(split)]
    for task, classes in checked.found.classes.items():
        ratio = checked.found.imbalance[task]
        print(
            f"\n{task}: {len(classes)} classes, imbalance {ratio:.1f} : 1 (most to least frequent in train)"
        )
        rows = [[name, *(str(counts[split]) for split in splits)] for name, counts in classes.items()]
        print_table(["class", *splits], rows, justify_right=True)


def _print_histograms(found: Findings) -> None:
    _print_bars("seconds", found.lengths.lines(lambda value: f"{value:.1f}"))
    _print_bars("size of the file", found.sizes.lines(in_bytes))
    if found.pictures:
        most = [f"{count} of {width}x{height}" for (width, height), count in list(found.pictures.items())[:5]]
        rest = len(found.pictures) - len(most)
        print(f"\npictures: {', '.join(most)}" + (f" and {rest} more sizes" if rest > 0 else ""))


def _print_bars(title: str, lines: Sequence[str]) -> None:
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
        print("No estimate: no batch could be tried out")
        return
    first, most = (in_seconds(seconds) for seconds in estimate.epoch)
    epoch = most if estimate.heaviest == 1 else f"{first}, and {most} in epoch {estimate.heaviest}"
    for what, value, basis in (
        ("RAM", f"about {in_bytes(estimate.ram)}", estimate.ram_basis),
        (f"memory on {estimate.on}", f"about {in_bytes(estimate.device)}", estimate.device_basis),
        ("time per epoch", f"about {epoch}", estimate.epoch_basis),
        (
            "time of the run",
            f"at most about {in_seconds(estimate.run)}",
            "all epochs as the longest of these",
        ),
    ):
        print(f"{what}: {value}")
        print(textwrap.fill(basis, _WIDTH, initial_indent="  ", subsequent_indent="  "))
    print(estimate.clip_cache)
