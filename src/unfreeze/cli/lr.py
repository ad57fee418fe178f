"""``unfreeze lr``: try learning rates on a run that is thrown away, and suggest one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfreeze.cli.flags import Group, flags_of
from unfreeze.cli.train import requested_beside
from unfreeze.cli.trained import print_table
from unfreeze.options import check_options, option
from unfreeze.strategies import Strategy
from unfreeze.training.config import TrainConfig

if TYPE_CHECKING:
    from unfreeze.training.lr_finder import Found

SUMMARY = "find a learning rate for a run, respecting what is frozen"


@dataclass(frozen=True)
class LrConfig:
    """The flags of ``lr`` beside those of ``train``."""

    lr_min: float = option(1e-6, "learning rate of the first step", gt=0)
    lr_max: float = option(
        1.0, "learning rate of the last step; the test ends before it breaks the loss", gt=0
    )
    steps: int = option(100, "optimizer steps", ge=10)
    epoch: int = option(1, "the epoch of the run whose freezing is tested", ge=1)
    curve: str = option("lr_curve.png", "picture of the losses; their numbers go beside it as JSON")

    def __post_init__(self) -> None:
        check_options(self, flag=lambda name: f"--{name}")
        path = Path(self.curve)
        if path.suffix != ".png":
            raise ValueError(f"--curve {path}: the picture is a .png file")
        if not path.parent.is_dir():  # said now and not after the test
            raise ValueError(f"--curve {path}: there is no folder {path.parent}")


def run(argv: Sequence[str], program: str) -> int:
    """Print the curve and the suggestion; write its picture and its numbers."""
    test, config, strategy = requested(argv, program)

    # torch takes its time; --help and wrong flags do not wait for it
    from unfreeze.report.console import RunConsole
    from unfreeze.report.lr_curve import plot_lr_curve
    from unfreeze.training.lr_finder import find_lr
    from unfreeze.training.range_test import rows_of

    console = RunConsole()
    found = find_lr(
        config, strategy, console, low=test.lr_min, high=test.lr_max, steps=test.steps, epoch=test.epoch
    )
    rows = [[f"{rate:.1e}", f"{loss:.4f}"] for rate, loss in rows_of(found.curve)]
    print_table(["learning rate", "loss"], rows, justify_right=True)
    picture = Path(test.curve)
    title = f"{config.model}, {strategy.name}, epoch {found.epoch}: {_what_trains(found)}"
    plot_lr_curve(
        picture,
        rates=found.curve.rates,
        losses=found.curve.losses,
        smooth=found.curve.smooth,
        rate=found.rate,
        title=title,
        label=f"learning rate{_whose(found)}",
    )
    numbers = picture.with_suffix(".json")
    about = {"model": config.model, "data": config.data, "strategy": strategy.name}
    numbers.write_text(json.dumps({**about, **_plain(found)}, indent=2) + "\n", encoding="utf-8")
    console.print(f"Tested {title}")
    console.print(f"Curve: {picture}, {numbers}")
    console.print(_advice(found))
    return 0


def requested(argv: Sequence[str], program: str) -> tuple[LrConfig, TrainConfig, Strategy]:
    """What the flags ask for: the test, the run that it is about, and the run's strategy.

    Raises:
        ValueError: a flag, key or value is wrong, or contradicts another.
        OSError: a config file cannot be read.
    """
    own = Group("learning-rate test", flags_of(LrConfig))
    given, config, strategy = requested_beside(argv, own, program=program, description=_description(program))
    return LrConfig(**given), config, strategy


def _what_trains(found: Found) -> str:
    return f"heads and {', '.join(_shortened(found.trainable))}" if found.trainable else "heads alone"


def _shortened(blocks: Sequence[str]) -> tuple[str, ...]:
    return tuple(blocks) if len(blocks) <= 3 else (blocks[0], "…", blocks[-1])


def _whose(found: Found) -> str:
    if not found.trainable:
        return " of the heads"
    return "" if found.ratio == 1 else f" of the heads (backbone: {found.ratio:.2g} times as much)"


def _advice(found: Found) -> str:
    if found.flags is None:
        return (
            "No suggestion: the loss never fell; try more --steps, a larger --batch_size, or other --lr_min "
            "and --lr_max"
        )
    frozen = "" if found.trainable else "  (the backbone is frozen; --epoch N tests a later epoch)"
    return f"Suggestion: {found.flags}{frozen}"


def _plain(found: Found) -> Mapping[str, Any]:
    return {
        "epoch": found.epoch,
        "trainable_blocks": list(found.trainable),
        "backbone_ratio": found.ratio,
        "suggestion": {"rate": found.rate, "flags": found.flags},
        "broke": found.curve.broke,
        "rates": list(found.curve.rates),
        "losses": list(found.curve.losses),
        "smooth": list(found.curve.smooth),
    }


def _description(program: str) -> str:
    return f"""\
Train for a few steps from the initial weights while the learning rate grows, and suggest the rate at which
the loss falls fastest. Heads and thawed blocks train as in the chosen epoch of the run, of which nothing is
kept. All flags of train are understood, --config included; schedules and warm-ups have no effect.

examples:
  {program} --data my_clips/ --model r3d_18
  {program} --freezing_strategy none
  {program} --config runs/NAME/config.yaml --epoch 5
"""
