"""predict on folders of many files: the files it writes, going on with them, and what users get wrong."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from unfreeze.cli import main
from unfreeze.cli.prediction_file import PredictionFile
from unfreeze.data import load_manifest
from unfreeze.training.checkpoint import load_for_inference, save_checkpoint

QUIET = ("--workers", "0", "--device", "cpu")


def run(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main(["predict", *map(str, words), *QUIET]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def error(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a wrong use gives."""
    out, err = run(capsys, *words, code=2)
    assert out == ""
    assert err.count("\n") == 1, err
    return err


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_long(path: Path, seconds: int, rate: int = 8) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for index in range(seconds * rate):
            picture = np.full((32, 32, 3), 40 + index % 200, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> Path:
    """Videos in several folders: three short ones and a long one."""
    found = tmp_path / "videos"
    (found / "deep" / "er").mkdir(parents=True)
    for number, place in ((0, found), (1, found / "deep"), (2, found / "deep" / "er")):
        shutil.copy(sorted(clips.parent.glob("*.mp4"))[number], place / f"clip{number}.mp4")
    write_long(found / "long.mp4", seconds=8)
    (found / "notes.txt").write_text("no video")
    return found


@pytest.fixture(scope="module")
def multilabel(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run's model, its task ``object`` made a multi-label one."""
    path = tmp_path_factory.mktemp("multilabel") / "best.pt"
    _, content = load_for_inference(finished / "best.pt")
    content["model"]["multilabel"] = ["object"]
    content["model"]["state"]["heads.object.bias"] = content["model"]["state"]["heads.object.bias"] + 9
    save_checkpoint(path, content)
    return path


def test_a_csv_has_a_row_per_video_and_is_a_data_set(
    finished: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "classes.csv"
    out, err = run(capsys, folder, "--checkpoint", finished, "--output", output)
    assert out == f"{output}: 4 videos\n"
    assert err == ""
    rows = rows_of(output)
    names = ["clip0.mp4", "deep/clip1.mp4", "deep/er/clip2.mp4", "long.mp4"]
    assert [row["path"] for row in rows] == [str(folder / name) for name in names]
    assert [row["windows"] for row in rows] == ["2", "2", "2", "5"]  # 2 and 8 seconds, 1.6 at a time
    assert [row["end"] for row in rows] == ["2.0", "2.0", "2.0", "8.0"]
    for row in rows:
        left, right = float(row["p(motion=left)"]), float(row["p(motion=right)"])
        assert left + right == pytest.approx(1, abs=1e-4)
        assert row["motion"] == ("left" if left > right else "right")
    shown = json.loads(run(capsys, folder, "--checkpoint", finished, "--format", "json")[0])
    for row, one in zip(rows, shown, strict=True):
        best = one["predictions"]["object"][0]
        assert (row["object"], float(row[f"p(object={best['class']})"])) == (
            best["class"],
            best["probability"],
        )
    classes = {"motion": ("left", "right"), "object": ("disc", "square")}
    assert len(load_manifest(output, classes=classes).samples) == 4


def test_jsonl_says_the_same(
    finished: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.csv", "a.jsonl"):
        run(capsys, folder, "--checkpoint", finished, "--output", tmp_path / name)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    for row, line in zip(rows_of(tmp_path / "a.csv"), lines, strict=True):
        assert (row["path"], int(row["windows"])) == (line["path"], line["windows"])
        said = line["predictions"]["motion"]
        assert row["motion"] == said["predicted"]
        assert {name: float(row[f"p(motion={name})"]) for name in ("left", "right")} == said["probabilities"]


def test_a_row_per_window_and_their_mean(
    finished: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (folder / "long.mp4", "--checkpoint", finished, "--window_stride", "0.8")
    run(capsys, *words, "--per_window", "--output", tmp_path / "windows.csv")
    run(capsys, *words, "--output", tmp_path / "mean.csv")
    windows, (mean,) = rows_of(tmp_path / "windows.csv"), rows_of(tmp_path / "mean.csv")
    assert [row["start"] for row in windows] == [f"{0.8 * i:.1f}" for i in range(9)]
    assert [row["end"] for row in windows] == [f"{0.8 * i + 1.6:.1f}" for i in range(9)]
    assert [row["window"] for row in windows] == [str(i + 1) for i in range(9)]
    assert {row["windows"] for row in windows} == {mean["windows"]} == {"9"}
    column = "p(motion=left)"
    assert float(mean[column]) == pytest.approx(np.mean([float(row[column]) for row in windows]), abs=1e-5)
    out, _ = run(capsys, *words, "--per_window")
    assert "0.8 … 2.4" in out


def test_a_multilabel_task_has_all_classes_above_the_threshold(
    multilabel: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (folder / "clip0.mp4", "--checkpoint", multilabel)
    run(capsys, *words, "--output", tmp_path / "low.csv")
    (low,) = rows_of(tmp_path / "low.csv")
    assert low["object"] == "disc|square"
    assert float(low["p(object=disc)"]) + float(low["p(object=square)"]) > 1.5
    run(capsys, *words, "--output", tmp_path / "high.jsonl", "--threshold", "1")
    high = json.loads((tmp_path / "high.jsonl").read_text())
    assert high["predictions"]["object"]["predicted"] == []
    assert high["predictions"]["motion"]["predicted"] in ("left", "right")
    out, _ = run(capsys, *words, "--top_k", "1")
    assert "disc" in out
    assert "square" in out
    assert "none" in run(capsys, *words, "--threshold", "1")[0]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
@pytest.mark.parametrize("per_window", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 60])
def test_a_run_that_was_stopped_goes_on_where_it_was(
    name: str, per_window: bool, cut: int, finished: Path, folder: Path, tmp_path: Path, capsys
) -> None:  # type: ignore[no-untyped-def]
    """The file is cut after, in, or well before the end of the last row; the rows of the rest stay."""
    output = tmp_path / name
    words: tuple[object, ...] = (folder, "--checkpoint", finished, "--output", output)
    words += (
        "--batch_size",
        "1",
    )  # what shares a batch with what would be another; that may move a last digit
    words += ("--per_window",) if per_window else ()
    run(capsys, *words)
    whole = output.read_bytes()
    assert "is there already" in error(capsys, *words)
    assert output.read_bytes() == whole
    output.write_bytes(whole[: len(whole) - cut])
    out, _ = run(capsys, *words, "--resume")
    assert f"{'0 videos' if cut == 0 else '1 video'}, {4 if cut == 0 else 3} were there already" in out
    assert output.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "videos"])


def test_after_ctrl_c_the_file_has_what_was_done(
    finished: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    whole = PredictionFile.append

    def stopped(self: PredictionFile, rows: Any) -> None:
        whole(self, rows)
        if len(rows_of(self.path)) == 2:
            raise KeyboardInterrupt

    output = tmp_path / "out.csv"
    words = (folder, "--checkpoint", finished, "--output", output)
    monkeypatch.setattr(PredictionFile, "append", stopped)
    _, err = run(capsys, *words, code=130)
    assert f"{output} has what was done; go on with --resume" in err
    monkeypatch.undo()
    out, _ = run(capsys, *words, "--resume")
    assert "2 videos, 2 were there already" in out
    assert len(rows_of(output)) == 4


def test_only_what_is_new_in_the_folder_is_classified(
    finished: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.csv"
    words = (folder, "--checkpoint", finished, "--output", output, "--resume")
    (folder / "junk.mp4").write_bytes(b"no video")
    _, err = run(capsys, *words, code=2)
    assert "1 of 5 videos cannot be read" in err
    before = output.read_text()
    shutil.copy(folder / "clip0.mp4", folder / "a_new_one.mp4")
    shutil.copy(folder / "clip0.mp4", folder / "junk.mp4")  # repaired: bad files are tried again
    out, _ = run(capsys, *words)
    assert "2 videos, 4 were there already" in out
    assert output.read_text().startswith(before)
    added = [Path(row["path"]).name for row in rows_of(output)][4:]
    assert added == ["a_new_one.mp4", "junk.mp4"]


def test_bad_files_are_named_at_the_end_in_one_block(
    finished: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a_junk.mp4").write_bytes(b"no video")
    (folder / "b_empty.mp4").touch()
    write_sound(folder / "c_sound.mp4")
    output = tmp_path / "out.csv"
    out, err = run(capsys, folder, "--checkpoint", finished, "--output", output, code=2)
    head, *lines = err.splitlines()
    assert head == "unfreeze: error: 3 of 7 videos cannot be read:"
    assert [Path(line.split(": ")[0]).name for line in lines] == ["a_junk.mp4", "b_empty.mp4", "c_sound.mp4"]
    assert "is empty" in lines[1]
    assert "only sound" in lines[2]
    assert out == f"{output}: 4 videos\n"
    assert len(rows_of(output)) == 4


def test_names_that_are_hard_to_write(
    finished: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ['a,"b".mp4', "line\nbreak.mp4", os.fsdecode(b"latin-\xe9.mp4")]
    for name in names:
        shutil.copy(folder / "clip0.mp4", tmp_path / name)
    for output in (tmp_path / "out.csv", tmp_path / "out.jsonl"):
        words = (*(tmp_path / name for name in names), "--checkpoint", finished, "--output", output)
        run(capsys, *words)
        before = output.read_bytes()
        out, _ = run(capsys, *words, "--resume")
        assert "0 videos, 3 were there already" in out
        assert output.read_bytes() == before


def test_best_and_last_are_those_of_the_latest_run(
    finished: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert "--checkpoint best: there is no run in runs" in error(capsys, folder, "--checkpoint", "best")
    for index, name in enumerate(("older", "newer")):
        shutil.copytree(finished, tmp_path / "runs" / name)
        os.utime(tmp_path / "runs" / name / "last.pt", (1000 + index, 1000 + index))
    (tmp_path / "runs" / "older" / "best.pt").write_bytes(b"not this one")
    for name in ("best", "last"):
        run(capsys, folder / "clip0.mp4", "--checkpoint", name)
    (tmp_path / "runs" / "newer" / "best.pt").unlink()
    assert "holds no best.pt" in error(capsys, folder, "--checkpoint", "best")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["{empty}"], ["holds no video files"]),
        (["{videos}", "--output", "{tmp}/out.txt"], ["out.txt", "name a .csv or a .jsonl file"]),
        (["{videos}", "--output", "{tmp}/out"], ["the extension says the form"]),
        (["{videos}", "--output", "{tmp}/mine.csv"], ["is there already", "--resume"]),
        (["{videos}", "--output", "{tmp}/mine.csv", "--resume"], ["mine.csv", "columns"]),
        (["{videos}", "--output", "{tmp}/mine.jsonl", "--resume"], ["mine.jsonl", "other things"]),
        (["{videos}", "--output", "{tmp}/no/out.csv"], ["there is no folder"]),
        (["{videos}", "--resume"], ["--resume needs", "--output"]),
        (["{videos}", "--windows", "one", "--window_stride", "1"], ["--window_stride says nothing"]),
        (["{videos}", "--windows", "two"], ["--windows: expected one of all, one"]),
        (["{videos}", "--window_stride", "0"], ["--window_stride must be above 0"]),
        (["{videos}", "--threshold", "50"], ["--threshold must be at least 0 and at most 1, not 50"]),
        (["{videos}", "--checkpoint", "nowhere.pt"], ["there is no checkpoint nowhere.pt"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_input(
    words: list[str], parts: list[str], finished: Path, folder: Path, tmp_path: Path, capsys
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "empty").mkdir()
    for name in ("mine.csv", "mine.jsonl"):
        (tmp_path / name).write_text("my,own\n1,2\n")
    known: dict[str, Any] = {"empty": tmp_path / "empty", "videos": folder, "tmp": tmp_path}
    given = [word.format(**known) for word in words]
    line = error(capsys, *given, *([] if "--checkpoint" in given else ["--checkpoint", finished]))
    assert all(part in line for part in parts), line
    assert (tmp_path / "mine.csv").read_text() == (tmp_path / "mine.jsonl").read_text() == "my,own\n1,2\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "mine.csv", "mine.jsonl", "videos"]


def test_a_spread_clip_has_no_windows_without_their_length(
    finished: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, content = load_for_inference(finished / "best.pt")
    content["model"]["preprocessing"]["fps"] = None
    save_checkpoint(tmp_path / "spread.pt", content)
    words = (folder / "long.mp4", "--checkpoint", tmp_path / "spread.pt", "--format", "json")
    assert json.loads(run(capsys, *words)[0])[0]["windows"] == 1
    assert "give --window_length" in error(capsys, *words, "--window_stride", "1")
    assert json.loads(run(capsys, *words, "--window_length", "2")[0])[0]["windows"] == 4
