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
        ["labels.csv:4", "'motion'", "UTF-8", "save it"],
    ),
    "an empty table": (lambda here: Path("labels.csv").write_text(""), ["labels.csv", "empty", "path"]),
    "a header alone": (
        lambda here: rewrite(lambda rows: rows.__delitem__(slice(1, None))),
        ["labels.csv", "row"],
    ),
    "bars between the columns": (
        lambda here: rewrite(lambda rows: None, separator="|"),
        ["labels.csv:1", "separated by bars", "save it with commas"],
    ),
    "a label that train lacks": (
        lambda here: rewrite(cell(10, 1, "rigth")),
        ["labels.csv:11", "'motion'", "'rigth'", "move clips of it", "did you mean 'right'"],
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
        ["00_left_disc.mp4", "labels.csv:2", "1 of 8 training files is bad", "--max_bad 1% allows 0"],
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


@pytest.mark.parametrize(("name", "code"), [(name, 0 if "separator" in name else 1) for name in NOTED])
def test_check_wants_a_look_at_what_may_be_a_mistake(
    name: str, code: int, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, said = NOTED[name]
    spoil(here)
    assert main(["check", "--data", "labels.csv", *SMALL]) == code
    out, _ = capsys.readouterr()
    assert sum(all(word in line for word in said) for line in out.splitlines()) == 1, out
    assert ("look: rows that may be mistaken (1)" in out.splitlines()) == (code == 1)


def test_a_path_outside_is_used_and_noted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move("02_left_square.mp4", "../elsewhere.mp4")
    rewrite(cell(3, 0, "../elsewhere.mp4"))
    assert main(["check", "--data", "labels.csv", *SMALL]) == 0
    out, _ = capsys.readouterr()
    assert "labels.csv:4, column 'path': ../elsewhere.mp4 lies outside" in out


def video(path: Path, seconds: int, pixels: str = "yuv420p") -> None:
    """One frame per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, pixels
        for _ in range(seconds):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(stream.encode())


def test_ten_hours(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video(Path("00_left_disc.mp4"), 36_000)
    assert main(["check", "--data", "labels.csv", *SMALL]) == 1
    out, _ = capsys.readouterr()
    said = ["00_left_disc.mp4", "labels.csv:2", "10.0 hours", "columns start and end"]
    assert any(all(word in line for word in said) for line in out.splitlines()), out


def test_ten_bits_per_colour_among_eight(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video(Path("00_left_disc.mp4"), 16, "yuv420p10le")
    assert main(["check", "--data", "labels.csv", *SMALL]) == 0
    out, _ = capsys.readouterr()
    assert "  1 file has 10 bits per colour, 00_left_disc.mp4 for one" in out.splitlines()


def test_a_folder_of_classes_has_no_cells_to_blank(
    here: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in sorted(Path().glob("*.mp4")):
        folder = Path("folder", file.name.split("_")[1])
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
    Path("folder", "rihgt").mkdir()
    video(Path("folder", "rihgt", "new.mp4"), 16)
    Path("folder", "tumble").mkdir()
    video(Path("folder", "tumble", "new.mp4"), 17)
    assert main(["check", "--data", "folder", *SMALL]) == 1
    out, _ = capsys.readouterr()
    assert "task 'label': the class 'tumble' has this one clip" in out
    assert "add clips, or leave it out" in out
    assert "column 'label'" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--show", "gone/sheet.png"], "--show gone/sheet.png: there is no folder gone; make it"),
        (["--json", "gone/found.json"], "--json gone/found.json: there is no folder gone; make it"),
        (["--json", "."], "--json . is a folder"),
        (["--show", "sheet.txt"], "--show sheet.txt: the sheet is a PNG file"),
    ],
)
def test_check_refuses_its_output_before_it_decodes(
    words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--data", "labels.csv", *words, *SMALL]) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert said in line
    assert not out


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
