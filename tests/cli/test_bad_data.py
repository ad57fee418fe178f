"""Data that cannot be used: check and train say so in one line, with file, row, column and remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from unfreeze.cli import main

SMALL = ("--workers", "0", "--device", "cpu", "--epochs", "1", "--weights", "none", "--batch_size", "4")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNFREEZE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def here(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the twelve clips and their ``labels.csv``, which each test spoils."""
    shutil.copytree(clips.parent, tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    return tmp_path / "data"


def rewrite(
    change: Callable[[list[list[str]]], object], separator: str = ",", encoding: str = "utf-8"
) -> None:
    file = Path("labels.csv")
    rows = [line.split(",") for line in file.read_text().splitlines()]
    change(rows)
    file.write_text("".join(separator.join(row) + "\n" for row in rows), encoding=encoding)


def cell(row: int, column: int, text: str) -> Callable[[list[list[str]]], object]:
    def change(rows: list[list[str]]) -> None:
        rows[row][column] = text

    return change


def drop(column: int) -> Callable[[list[list[str]]], object]:
    def change(rows: list[list[str]]) -> None:
        for row in rows:
            del row[column]

    return change


def numbers(rows: list[list[str]]) -> None:
    for number, row in enumerate(rows[1:]):
        row[1] = f"{number * 1.7:.1f}"


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


# columns: 0 path, 1 motion, 2 object, 3 split; row 10 is the second one of val
CASES = {
    "no column of files": (lambda here: rewrite(cell(0, 0, "pfad")), ["labels.csv:1", "'path'", "pfad"]),
    "no column of labels": (
        lambda here: (rewrite(drop(2)), rewrite(drop(1))),
        ["labels.csv:1", "no column of labels", "add one"],
    ),
    "an unknown split": (
        lambda here: rewrite(cell(10, 3, "vla")),
        ["labels.csv:11", "'split'", "'vla'", "did you mean 'val'", "write train, val"],
    ),
    "a missing file": (
        lambda here: rewrite(cell(3, 0, "02_left_squar.mp4")),
        ["labels.csv:4", "'path'", "02_left_squar.mp4", "did you mean '02_left_square.mp4'"],
    ),
    "a missing file outside": (
        lambda here: rewrite(cell(3, 0, "../gone.mp4")),
        ["labels.csv:4", "'path'", "gone.mp4"],
    ),
    "another encoding": (
        lambda here: rewrite(cell(3, 1, "l\u00e9ft"), encoding="latin-1"),
        ["labels.csv:4", "UTF-8", "save it"],
    ),
    "an empty table": (lambda here: Path("labels.csv").write_text(""), ["labels.csv", "empty", "path"]),
    "a header alone": (
        lambda here: rewrite(lambda rows: rows.__delitem__(slice(1, None))),
        ["labels.csv", "row"],
    ),
    "numbers by accident": (lambda here: rewrite(numbers), ["labels.csv", "'motion'", "--tasks"]),
    "an empty video in val": (
        lambda here: Path("09_right_disc.mp4").write_bytes(b""),
        ["09_right_disc.mp4", "labels.csv:11", "empty", "--allow_bad"],
    ),
    "sound alone in val": (
        lambda here: sound_only(Path("09_right_disc.mp4")),
        ["09_right_disc.mp4", "labels.csv:11", "only sound", "--allow_bad"],
    ),
    "too many bad files in train": (
        lambda here: Path("00_left_disc.mp4").write_bytes(b"no video"),
        ["00_left_disc.mp4", "labels.csv:2", "--max_bad 1% allows 0"],
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("command", ["train", "check"])
def test_one_line_names_culprit_and_remedy(
    command: str, name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, said = CASES[name]
    spoil(here)
    assert main([command, "--data", "labels.csv", *SMALL]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in (out + err).splitlines() if all(word in line for word in said)]
    assert len(lines) >= 1, (out, err)
    if command == "train":
        assert len(err.splitlines()) == 1, err
        assert not Path("runs").exists()


NOTED = {
    "a slip of the pen": (lambda here: rewrite(cell(2, 1, "rihgt")), ["labels.csv:3", "'rihgt'", "'right'"]),
    "a class with one clip": (lambda here: rewrite(cell(2, 1, "up")), ["labels.csv:3", "'up'"]),
    "another separator": (
        lambda here: rewrite(lambda rows: None, separator=";"),
        ["labels.csv", "semicolon"],
    ),
}


@pytest.mark.parametrize("name", NOTED)
def test_what_one_can_live_with_is_a_line(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, said = NOTED[name]
    spoil(here)
    assert main(["train", "--data", "labels.csv", *SMALL]) == 0
    out, _ = capsys.readouterr()
    assert any(all(word in line for word in said) for line in out.splitlines()), out


def test_a_challenge_folder_without_a_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mvfoul" / "Train"
    (folder / "action_0").mkdir(parents=True)
    action = {"Offence": "Offence", "Action class": "Tackling", "Severity": "1.0"}
    action["Clips"] = [{"Url": f"Dataset/Train/action_0/clip_{view}"} for view in range(2)]  # type: ignore[assignment]
    content = {"Set": "train", "Number of actions": "1", "Actions": {"0": action}}
    (folder / "annotations.json").write_text(json.dumps(content))
    assert main(["train", "--data", str(tmp_path / "mvfoul"), *SMALL]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "action_0" in line
    assert "clip_0.mp4" in line
