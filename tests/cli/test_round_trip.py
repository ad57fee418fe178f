"""A run can be asked for again with its own config.yaml, and stopped and continued."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from unfreeze import strategies
from unfreeze.cli import main
from unfreeze.cli.strategy import is_strategy_flag
from unfreeze.cli.train import requested
from unfreeze.strategies import Strategy
from unfreeze.strategies.fixed import Phase
from unfreeze.training.config import TrainConfig, resolve, resolved

STRATEGIES = [
    *(strategies.get(name)() for name in strategies.available()),
    strategies.get("early_gradual")(freeze_epochs=0, blocks_per_epoch=2, target_ratio=0.125),
    strategies.get("adaptive")(patience=3, min_improvement=1e-7),
    strategies.get("fixed")(phases=(Phase(1, "none"), Phase(2, ("stem", "layer4.*"), 0.5))),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_config_accepts_back_what_a_run_wrote(strategy: Strategy, tmp_path: Path) -> None:
    config = TrainConfig(
        data="clips.csv",
        tasks=("motion", "a task"),
        flip=True,
        optimizer_args={"betas": [0.9, 0.95], "eps": 1e-7, "fused": False},
        lr=1e-5,
        head_lr=3.0,
        epochs=strategy.run_length() or 7,
    )
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(resolved(config, strategy), sort_keys=False))
    assert requested(["--config", str(path)], "train.py") == (config, strategy)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--lr 0.1", {"lr": 0.1, "head_lr": None, "backbone_lr": None}),
        ("--lr 0.1 --head_lr 0.5", {"lr": 0.1, "head_lr": 0.5, "backbone_lr": None}),
        ("--head_lr 0.5", {"lr": None, "head_lr": 0.5, "backbone_lr": 2e-3}),
    ],
)
def test_broader_words_overrule_a_saved_config(
    words: str, expected: dict[str, float], tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    early = strategies.get("early_gradual")(target_ratio=0.25)
    path.write_text(yaml.safe_dump(resolved(resolve(TrainConfig(), early), early)))
    config, strategy = requested(["--config", str(path), *words.split()], "train.py")
    assert {name: getattr(config, name) for name in expected} == expected
    assert strategy == early
    again, strategy = requested(["--config", str(path), "--freezing_strategy", "adaptive"], "train.py")
    assert strategy == strategies.get("adaptive")()
    assert again.backbone_lr == 2e-3


def test_a_run_writes_the_flags_of_its_own_strategy_only(finished: Path) -> None:
    written = yaml.safe_load((finished / "config.yaml").read_text())
    assert written["freezing_strategy"] == "early_gradual"
    assert {name for name in written if is_strategy_flag(name)} == {
        "freezing_strategy",
        "early_gradual_freeze_epochs",
        "early_gradual_blocks_per_epoch",
        "early_gradual_target_ratio",
    }


def test_the_same_config_gives_the_same_numbers(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "once again"
    assert main(["train", "--config", str(finished / "config.yaml"), "--run_dir", str(again)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    command = shlex.split(last.removeprefix("Next: ").split(", or ")[0])
    assert command[1:] == ["evaluate", "--checkpoint", str(again)]
    assert shutil.which(command[0])
    first, second = (losses(folder) for folder in (finished, again))
    assert first == second
    assert len(first) == 2


def test_ctrl_c_leaves_a_run_that_can_be_used_and_continued(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    unfreeze = [str(Path(sys.executable).with_name("unfreeze")), "train"]
    where = ["--data", str(clips), "--run_dir", str(folder), "--device", "cpu", "--workers", "1"]
    program = subprocess.Popen(
        [*unfreeze, *where, "--epochs", "1000", "--batch_size", "4", "--scheduler", "constant"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that the signal reaches the workers too, as from a keyboard
    )
    deadline = time.monotonic() + 60
    while not (folder / "metrics.jsonl").exists() and time.monotonic() < deadline and program.poll() is None:
        time.sleep(0.05)
    os.killpg(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 130, err
    assert "Traceback" not in err
    assert "--resume" in out

    done = len(losses(folder))
    assert done >= 1
    assert (
        main(["evaluate", "--checkpoint", str(folder / "last.pt"), "--format", "json", "--workers", "0"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["epoch"] == done
    assert main(["train", "--resume", str(folder), "--epochs", str(done + 1), "--workers", "0"]) == 0
    assert len(losses(folder)) == done + 1


def losses(folder: Path) -> list[float]:
    """The training loss of every epoch."""
    return [json.loads(line)["train"]["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
