"""``unfreeze train``: fine-tune a pretrained video model on clips, thawing it block by block."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unfreeze.cli.flags import Flag, Group, flags_of
from unfreeze.cli.parser import parse
from unfreeze.cli.strategy import DEFAULT, choose, is_strategy_flag, strategy_groups, suits
from unfreeze.strategies import Strategy
from unfreeze.training.config import OF_THIS_RUN, SILENT, TrainConfig
from unfreeze.training.rundir import find_run

SUMMARY = "fine-tune a pretrained video model on your clips"

# the field of TrainConfig, which is in the order of --help, that each group begins with
_TITLES = {
    "data": "data",
    "frames": "clips",
    "augment": "augmentation",
    "balance": "balance",
    "model": "model",
    "epochs": "optimization",
    "device": "machine",
    "cache": "frozen blocks",
    "monitor": "run",
}


def run(argv: Sequence[str], program: str) -> int:
    """Train as ``argv`` says: 0, or 130 after Ctrl-C."""
    config, strategy = requested(argv, program)

    # torch takes its time; --help and wrong flags do not wait for it
    from unfreeze.report.console import RunConsole
    from unfreeze.training.run import train

    console = RunConsole()
    result = train(config, strategy, console)
    if result.interrupted:
        return 130
    command, checkpoint = _unfreeze(), f"--checkpoint {shlex.quote(str(result.run_dir))}"
    console.print(f"Next: {command} evaluate {checkpoint}, or {command} predict FILES {checkpoint}")
    return 0


def _unfreeze() -> str:
    """How to call the console command from here; outside an activated environment it has a path."""
    if shutil.which("unfreeze"):
        return "unfreeze"
    path, here = Path(sys.executable).with_name("unfreeze"), Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def requested(argv: Sequence[str], program: str) -> tuple[TrainConfig, Strategy]:
    """What the flags ask for; those of a resumed run, in its ``config.yaml``, are under those of ``argv``.

    Raises:
        ValueError: a flag, key or value is wrong, or contradicts another.
        OSError: a config file cannot be read.
    """
    words = list(argv)
    given = _parse(words, program)
    if given.get("resume") is not None and not any(word.split("=")[0] == "--config" for word in words):
        folder = find_run(given["resume"], given.get("output", TrainConfig.output))
        saved = folder / "config.yaml"
        was = _parse(["--config", str(saved)], program).get("freezing_strategy", DEFAULT)
        now = "fixed" if given.get("gradual_finetuning") else given.get("freezing_strategy", was)
        if now != was:
            raise ValueError(
                f"--resume {given['resume']}: the run was started with --freezing_strategy {was}, not {now}; "
                "leave it out, or start a new run"
            )
        given = _parse(["--config", str(saved), *words], program)
    given = without_moot(given, words)
    own = {name: value for name, value in given.items() if not is_strategy_flag(name)}
    return TrainConfig(**own), choose(given)


def requested_beside(
    argv: Sequence[str], own: Group, *, program: str, description: str
) -> tuple[dict[str, Any], TrainConfig, Strategy]:
    """What the flags of a command about a run that is not stored ask for: ``check``, ``lr``.

    Args:
        own: the flags that the command has beside those of ``train``.

    Returns:
        Its own flags that were written, the run that it is about, and the run's strategy.

    Raises:
        ValueError: a flag, key or value is wrong, or contradicts another.
        OSError: a config file cannot be read.
    """
    of_train = (
        replace(group, flags=tuple(flag for flag in group.flags if flag.name not in OF_THIS_RUN))
        for group in groups()
    )
    given = parse(argv, (own, *of_train), program=program, description=description, reads_config=True)
    names = {flag.name for flag in own.flags}
    run = without_moot({name: value for name, value in given.items() if name not in names}, argv)
    config = TrainConfig(**{name: value for name, value in run.items() if not is_strategy_flag(name)})
    return {name: value for name, value in given.items() if name in names}, config, choose(run)


def without_moot(given: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The flags without those of a config file that broader words on the command line overrule."""
    spoken = {word.split("=")[0].split(".")[0].removeprefix("--") for word in words if word.startswith("--")}
    moot = {"head_lr", "backbone_lr"} if "lr" in spoken else set()
    if "cache" in spoken:
        moot |= SILENT.get(given["cache"], set())
    if "freezing_strategy" in spoken:
        moot |= {name for name in given if not suits(name, given["freezing_strategy"])}
    return {name: value for name, value in given.items() if name in spoken or name not in moot}


def groups() -> tuple[Group, ...]:
    """The flags of ``train`` as ``--help`` groups them."""
    found: dict[str, list[Flag]] = {}
    title = ""
    for flag in flags_of(TrainConfig):
        title = _TITLES.get(flag.name, title)
        found.setdefault(title, []).append(flag)
    made = [Group(title, tuple(flags)) for title, flags in found.items()]
    after_model = 1 + list(found).index("model")
    return (*made[:after_model], *strategy_groups(), *made[after_model:])


def _parse(words: Sequence[str], program: str) -> dict[str, Any]:
    return parse(words, groups(), program=program, description=_description(program), reads_config=True)


def _description(program: str) -> str:
    return f"""\
Fine-tune a pretrained video model on your clips. The backbone starts frozen and thaws block by block, from
the output backwards, as the freezing strategy says. Without flags: the demo data, early_gradual.

examples:
  {program} --freezing_strategy early_gradual
  {program} --data my_clips/ --model r3d_18 --epochs 30
  {program} --config runs/NAME/config.yaml --seed 1
"""
