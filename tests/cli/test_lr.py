"""``unfreeze lr``, run for real on tiny clips, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from unfreeze.cli import main
from unfreeze.cli.lr import requested
from unfreeze.cli.train import requested as train_requested

SMALL = ("--workers", "0", "--batch_size", "4", "--device", "cpu", "--steps", "12", "--clip_cache", "off")


def test_it_prints_a_table_and_a_suggestion_that_train_accepts(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["lr", "--data", str(clips), *SMALL, "--freezing_strategy", "none"]
    assert main([*words, "--lr_min", "1e-4", "--lr_max", "1e-2", "--epochs", "4", "--epoch", "2"]) == 0
    out = capsys.readouterr().out
    assert "learning rate" in out
    assert "1.0e-04" in out
    assert {path.name for path in tmp_path.iterdir()} == {"lr_curve.png", "lr_curve.json"}
    found = json.loads((tmp_path / "lr_curve.json").read_text())
    assert (found["model"], found["strategy"], found["epoch"]) == ("r3d_micro", "none", 2)
    assert len(found["rates"]) == len(found["losses"]) == len(found["smooth"]) == 12
    assert found["trainable_blocks"][-1] == "layer4.1"
    assert found["backbone_ratio"] == pytest.approx(0.4)
    last = out.splitlines()[-1]
    suggestion = re.match(r"Suggestion: (--head_lr \S+ --backbone_lr \S+)$", last)
    assert suggestion or last.startswith("No suggestion: the loss never fell")
    assert found["suggestion"]["flags"] == (suggestion[1] if suggestion else None)
    if suggestion:
        config, _ = train_requested(suggestion[1].split(), "train")
        assert config.backbone_lr == pytest.approx(0.4 * config.head_lr, rel=0.06)


def test_a_frozen_backbone_is_said_to_be(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = tmp_path / "a.png"
    words = [
        "lr",
        "--data",
        str(clips),
        *SMALL,
        "--lr_min",
        "1e-3",
        "--lr_max",
        "1e-1",
        "--curve",
        str(curve),
    ]
    assert main([*words, "--weights", "none"]) == 0
    out = capsys.readouterr().out
    assert "epoch 1: heads alone" in out
    assert str(curve.with_suffix(".json")) in out
    assert re.search(r"Suggestion: --head_lr \S+  \(the backbone is frozen; --epoch N|No suggestion", out)


def test_the_flags_of_a_run_are_its_own(finished: Path) -> None:
    saved = str(finished / "config.yaml")
    test, config, strategy = requested(
        ["--config", saved, "--epoch", "2", "--freezing_strategy", "none"], "lr"
    )
    assert (test.epoch, test.steps, strategy.name) == (2, 100, "none")
    was, _ = train_requested(["--config", saved], "train")
    assert config == was
    _, config, _ = requested(["--config", saved, "--lr", "0.01"], "lr")
    assert (config.lr, config.head_lr, config.backbone_lr) == (0.01, None, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lr_min", "0"], "--lr_min must be above 0, not 0"),
        (["--lr_min", "1", "--lr_max", "0.1"], "--lr_min 1 must be below --lr_max 0.1"),
        (["--steps", "3"], "--steps must be at least 10, not 3"),
        (["--epoch", "0"], "--epoch must be at least 1, not 0"),
        (["--curve", "curve.pdf"], "--curve curve.pdf: the picture is a .png file"),
        (["--curve", "none_such/curve.png"], "--curve none_such/curve.png: there is no folder none_such"),
        (["--resume", "last"], "unknown flag --resume"),
        (["--epoch", "99"], "--epoch 99: the run has 12 epochs"),
    ],
)
def test_what_it_refuses(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr", "--help"]) == 0
    text = capsys.readouterr().out
    assert "learning-rate test:" in text
    assert "--freezing_strategy" in text
    assert "--run_dir" not in text
    assert text.isascii()
