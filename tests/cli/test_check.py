"""check as a user calls it: exit codes, JSON, the table, and that training agrees."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from unfreeze.cli import main
from unfreeze.data.survey import FileReport

QUIET = ("--workers", "0", "--device", "cpu", "--batch_size", "4", "--weights", "none", "--epochs", "2")


@pytest.fixture(autouse=True)
def brief(tmp_path, monkeypatch):
    monkeypatch.setenv("UNFREEZE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("unfreeze.training.trial._SECONDS", 0.0)


@pytest.fixture
def data(clips: Path, tmp_path: Path) -> Path:
    """A copy of the clips, to be damaged."""
    folder = tmp_path / "data"
    shutil.copytree(clips.parent, folder)
    return folder / "labels.csv"


def video(data: Path, number: int) -> Path:
    return sorted(data.parent.glob("*.mp4"))[number]


def check(capsys, *words: object, code: int = 0) -> tuple[str, str]:
    assert main(["check", *map(str, words), *QUIET]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def as_json(capsys, *words: object, code: int = 0) -> dict:
    return json.loads(check(capsys, *words, "--format", "json", code=code)[0])


def serious(found: dict) -> list[tuple[str, str]]:
    """Kind and level, but for the note that all clips are smaller than the model's crop."""
    return [(i["kind"], i["level"]) for i in found["findings"] if i["kind"] != "small"]


def test_good_data(data, capsys):
    found = as_json(capsys, "--data", data)
    assert serious(found) == []
    assert (found["code"], found["stops"], found["mode"]) == (0, None, "full")
    assert found["classes"]["motion"]["left"] == {"train": 4, "val": 2, "test": 0}
    assert found["imbalance"] == {"motion": 1.0, "object": 1.0}
    assert len(found["files"]) == 12
    assert {"path", "ok", "seconds", "digest", "codec", "variable_rate"} <= set(found["files"][0])
    assert sum(found["lengths"]["counts"]) == 12
    assert found["estimate"]["device"] > 0
    assert found["estimate"]["epoch"][1] > 0
    command = shlex.split(found["suggestion"]["command"])
    assert command[:4] == ["unfreeze", "train", "--data", str(data)]
    assert "--format" not in command


def test_the_table_for_people(data, capsys):
    out, err = check(capsys, "--data", data)
    for word in (
        "motion",
        "left",
        "train",
        "val",
        "RAM",
        "time per epoch",
        "█",
        "note: small pictures",
        "12 of 32x32",
    ):
        assert word in out
    assert "Checked 12 files (12 decoded): none is bad" in err
    assert f"Train: unfreeze train --data {data}" in out.splitlines()[-1]
    _, err = check(capsys, "--data", data)
    assert "(0 decoded, 12 known from before)" in err


def test_the_suggested_command_is_one_that_train_takes(data, capsys, tmp_path):
    words = shlex.split(as_json(capsys, "--data", data)["suggestion"]["command"])
    assert main([*words[1:], "--run_dir", str(tmp_path / "run"), "--epochs", "1"]) == 0


@pytest.mark.parametrize(
    ("harm", "code", "kind", "said"),
    [
        (lambda path: path.write_bytes(b""), 2, "empty", "the file is empty"),
        (lambda path: path.write_text("text"), 2, "unreadable", "cannot be decoded as video"),
        (lambda path: path.write_bytes(path.read_bytes()[:900]), 2, "unreadable", "cannot be decoded"),
    ],
)
def test_a_bad_training_file_is_more_than_one_percent_of_eight(data, capsys, harm, code, kind, said):
    harm(video(data, 0))
    found = as_json(capsys, "--data", data, code=code)
    assert serious(found) == [(kind, "warn")]
    assert said in found["findings"][0]["lines"][0]
    assert found["stops"].startswith("1 of 8 training files is bad, and --max_bad 1% allows 0")
    assert found["estimate"] is not None  # of the rest
    assert main(["train", "--data", str(data), *QUIET, "--run_dir", str(data.parent / "run")]) == 2


def test_within_max_bad_it_is_something_to_look_at(data, capsys):
    video(data, 0).write_text("text")
    found = as_json(capsys, "--data", data, "--max_bad", "1", code=1)
    assert found["stops"] is None
    out, _ = check(capsys, "--data", data, "--max_bad", "1", code=1)
    assert "look: unreadable (1)" in out


def test_a_bad_validation_file_stops_unless_it_is_allowed(data, capsys):
    bad = video(data, 9)
    bad.write_text("text")
    found = as_json(capsys, "--data", data, "--max_bad", "100%", code=2)
    assert f"--allow_bad {bad.name}" in found["stops"]
    assert as_json(capsys, "--data", data, "--allow_bad", bad.name, code=1)["stops"] is None


def test_the_same_content_in_train_and_val(data, capsys):
    shutil.copy(video(data, 0), video(data, 8))
    found = as_json(capsys, "--data", data, code=2)
    assert serious(found) == [("leak", "stop")]
    out, _ = check(capsys, "--data", data, code=2)
    assert "STOP: same content in two splits (1)" in out
    assert "Then train:" in out


def test_the_same_content_twice_in_train(data, capsys):
    shutil.copy(video(data, 0), video(data, 4))
    found = as_json(capsys, "--data", data, code=1)
    assert serious(found) == [("duplicate", "warn")]


def test_all_of_it_bad_is_said_without_an_estimate(data, capsys):
    for path in data.parent.glob("*.mp4"):
        path.write_text(f"no video {path.name}")
    found = as_json(capsys, "--data", data, code=2)
    assert found["estimate"] is None
    out, _ = check(capsys, "--data", data, code=2)
    assert "No estimate" in out


def test_a_changed_file_is_decoded_again(data, capsys):
    check(capsys, "--data", data)
    video(data, 3).write_text("no longer a video")
    _, err = check(capsys, "--data", data, "--max_bad", "1", code=1)
    assert "Checked 12 files (1 decoded, 11 known from before): 1 is bad" in err


CHECKS = importlib.import_module("unfreeze.data.survey.survey")  # the package has its function by that name


def crashing(path: Path, beat: object, **how: object) -> FileReport:
    if path.name.startswith("03"):
        os._exit(9)
    return FileReport(path, seconds=2.0, frames=16, fps=8.0, width=32, height=32, digest=path.name, size=1)


def test_a_crashing_decoder_is_a_bad_file(data, capsys, monkeypatch):
    monkeypatch.setattr(CHECKS, "examine", crashing)
    words = ["check", "--data", str(data), "--max_bad", "1", *QUIET, "--workers", "2"]
    assert main(words) == 1
    assert "the decoder crashes (exit code 9)" in capsys.readouterr().out


def test_show_draws_a_contact_sheet_and_json_goes_to_a_file(data, capsys, tmp_path):
    sheet, file = tmp_path / "sheet.png", tmp_path / "check.json"
    out, err = check(capsys, "--data", data, "--show", sheet, "--json", file, "--augment", "standard")
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200
    assert str(sheet) in err
    assert json.loads(file.read_text())["code"] == 0
    assert "motion" in out
    assert "--show" not in out.splitlines()[-1]


def test_a_model_that_does_not_fit_is_said_in_a_line(data, capsys, monkeypatch):
    def full(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory\nand more")

    monkeypatch.setattr("unfreeze.training.estimate.try_clips", full)
    found = as_json(capsys, "--data", data, code=2)
    assert found["stops"].startswith("--model r3d_micro: two clips of 8 frames do not fit")
    assert found["estimate"] is None


def test_quick_opens_and_does_not_decode(data, capsys):
    found = as_json(capsys, "--data", data, "--check", "quick")
    assert found["mode"] == "quick"
    assert all(file["decoded_seconds"] == 0 for file in found["files"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--check", "none"], "--check none leaves nothing to look at"),
        (["--max_bad", "some"], "--max_bad some: write a whole number"),
        (["--allow_bad", "nobody.mp4"], "--allow_bad nobody.mp4: no file"),
        (["--resume", "last"], "unknown flag --resume"),
        (["--model", "r3d_19"], "r3d_18"),
    ],
)
def test_wrong_flags_are_one_line(data, capsys, words, said):
    assert main(["check", "--data", str(data), *words]) == 2
    captured = capsys.readouterr()
    text = captured.err + captured.out
    assert said in text


def test_help_says_what_the_exit_status_means(capsys):
    assert main(["check", "--help"]) == 0
    out = capsys.readouterr().out
    assert "exit status:" in out
    assert "--show" in out
    assert "--max_bad" in out
    assert "--resume" not in out


def test_the_config_of_a_run_says_what_to_check(finished, capsys):
    out, _ = check(capsys, "--config", finished / "config.yaml", code=0)
    assert "--config" in out.splitlines()[-1]


def test_broader_flags_overrule_the_config_of_a_run_as_in_training(finished, capsys):
    words = ("--lr", "0.01", "--freezing_strategy", "none")
    out, _ = check(capsys, "--config", finished / "config.yaml", *words, code=0)
    assert out.splitlines()[-1].endswith(shlex.join([*words, *QUIET]))
