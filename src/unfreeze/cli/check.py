"""``unfreeze check``: what is wrong with the data, what a run would take, and a command to train with."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unfreeze.cli.flags import Group, flags_of
from unfreeze.cli.train import requested_beside
from unfreeze.options import check_options, option
from unfreeze.training.config import resolve

SUMMARY = "look at every file before training, and estimate what a run takes"


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


def run(argv: Sequence[str], program: str) -> int:
    """Print what was found on stdout; everything else goes to stderr."""
    own = Group("check", flags_of(CheckConfig))
    given, config, strategy = requested_beside(argv, own, program=program, description=_description(program))
    flags, config = CheckConfig(**given), resolve(config, strategy)
    if config.check == "none":
        raise ValueError("--check none leaves nothing to look at; say full or quick")

    _check_outputs(flags)
    # torch takes its time; --help and wrong flags do not wait for it
    from unfreeze.cli.check_report import print_report
    from unfreeze.report.console import RunConsole
    from unfreeze.training.check import check

    words = _words_of_train(argv, {flag.name for flag in own.flags})
    checked = check(config, strategy, RunConsole(sys.stderr), flags.show, words, _train(program))
    if flags.json is not None:
        Path(flags.json).write_text(json.dumps(checked.to_dict(), indent=2) + "\n", encoding="utf-8")
    if flags.format == "json":
        print(json.dumps(checked.to_dict(), indent=2))
    else:
        print_report(checked)
    return checked.code


def _check_outputs(flags: CheckConfig) -> None:
    """Refuse files that cannot be written, before every video is decoded for them."""
    for flag, name in (("--show", flags.show), ("--json", flags.json)):
        if name is None:
            continue
        path = Path(name)
        if not path.parent.is_dir():
            raise ValueError(f"{flag} {name}: there is no folder {path.parent}; make it or name another")
        if path.is_dir():
            raise ValueError(f"{flag} {name} is a folder; name a file in it")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ValueError(f"{flag} {name} cannot be written; name a file elsewhere")
    if flags.show is not None and Path(flags.show).suffix.lower() != ".png":
        raise ValueError(f"--show {flags.show}: the sheet is a PNG file; let its name end in .png")


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
