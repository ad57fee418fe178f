"""evaluate and predict on a finished run: right numbers, clean JSON, files that cannot be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from unfreeze.cli import main
from unfreeze.cli.evaluate import per_task

QUIET = ("--workers", "0", "--device", "cpu")


def run(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    assert main([*map(str, words), *QUIET]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def as_json(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    """What is on stdout, which must be JSON and nothing else."""
    return json.loads(run(capsys, *words, "--format", "json", code=code)[0])


def test_metrics_are_sorted_by_task_with_the_mean_at_the_end() -> None:
    metrics = {
        "loss": 0.5,
        "accuracy": 0.6,
        "a/loss": 0.4,
        "a/accuracy": 0.7,
        "b/loss": 0.6,
        "b/accuracy": 0.5,
    }
    assert per_task(metrics) == {
        "a": {"loss": 0.4, "accuracy": 0.7},
        "b": {"loss": 0.6, "accuracy": 0.5},
        "mean": {"loss": 0.5, "accuracy": 0.6},
    }
    assert list(per_task(metrics))[-1] == "mean"
    assert per_task({"loss": 0.4, "a/loss": 0.4}) == {"a": {"loss": 0.4}}
    assert per_task({"a/loss": float("inf")}) == {"a": {"loss": None}}


def test_evaluate_measures_what_training_measured(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    for name in ("best.pt", "last.pt"):
        found = as_json(capsys, "evaluate", "--checkpoint", finished / name)
        trained = rows[found["epoch"] - 1]["val"]
        assert found["clips"] == 4
        for task in ("motion", "object"):
            for metric, value in found["metrics"][task].items():
                assert value == pytest.approx(trained[f"{task}/{metric}"], abs=1e-5)


def test_a_run_folder_means_its_best(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = as_json(capsys, "evaluate", "--checkpoint", finished)
    file = as_json(capsys, "evaluate", "--checkpoint", finished / "best.pt")
    assert folder.pop("latency").keys() == file.pop("latency").keys()  # which is never the same twice
    assert folder == file


def test_the_table_has_a_row_per_task(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "evaluate", "--checkpoint", finished)
    assert all(word in out for word in ("motion", "object", "mean", "balanced_accuracy", "4 clips"))


def test_other_data_and_all_of_it(
    finished: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A CSV file with one of the two tasks and without splits."""
    lines = [f"{path},{path.name.split('_')[1]}" for path in sorted(clips.parent.glob("*.mp4"))]
    (tmp_path / "more.csv").write_text("\n".join(["path,motion", *lines]) + "\n")
    words = ("evaluate", "--checkpoint", finished, "--data", tmp_path / "more.csv")
    found = as_json(capsys, *words, "--tasks", "motion", "--split", "all")
    assert found["clips"] == 12
    assert list(found["metrics"]) == ["motion"]


def test_predict_agrees_with_evaluate(
    finished: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(clips.parent.glob("*.mp4"))[8:]  # those of the validation split
    rows = as_json(capsys, "predict", *files, "--checkpoint", finished, "--windows", "one")
    assert [row["file"] for row in rows] == [str(file) for file in files]
    right = {"motion": 0, "object": 0}
    for row in rows:
        _, motion, thing = Path(row["file"]).stem.split("_")
        for task, label in (("motion", motion), ("object", thing)):
            best, *rest = row["predictions"][task]
            assert best["probability"] >= rest[0]["probability"]
            assert best["probability"] + rest[0]["probability"] == pytest.approx(1, abs=1e-4)
            right[task] += best["class"] == label
    measured = as_json(capsys, "evaluate", "--checkpoint", finished)["metrics"]
    assert {task: count / 4 for task, count in right.items()} == {t: measured[t]["accuracy"] for t in right}


def test_predict_takes_folders_and_top_k(
    finished: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = as_json(capsys, "predict", clips.parent, "--checkpoint", finished, "--top_k", "1")
    assert len(rows) == 12
    assert all(len(row["predictions"]["motion"]) == 1 for row in rows)


def test_a_file_that_cannot_be_read_does_not_stop_the_others(
    finished: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, junk, gone = tmp_path / "good.mp4", tmp_path / "junk.mp4", tmp_path / "gone.mp4"
    shutil.copy(next(clips.parent.glob("*.mp4")), good)
    junk.write_bytes(b"no video")
    words = ("predict", junk, good, gone, "--checkpoint", finished)
    rows = as_json(capsys, *words, code=2)
    assert ["error" in row for row in rows] == [True, False, True]
    out, err = run(capsys, *words, code=2)
    assert str(good) in out
    assert out.count("cannot be read") == 2
    head, *lines = err.splitlines()
    assert head == "unfreeze: error: 2 of 3 videos cannot be read:"
    assert [line.split(": ")[0].strip() for line in lines] == [str(junk), str(gone)]


def test_what_there_is_to_know_of_the_data_is_said_in_one_line_on_stderr(
    finished: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Longer than a terminal is wide, and with a name that would be markup."""
    unsplit = clips.with_name("[bold]unsplit.csv")  # the split is the last column
    rows = [row.rpartition(",")[0] for row in clips.read_text().splitlines()]
    unsplit.write_text("\n".join(rows) + "\n")
    out, err = run(capsys, "evaluate", "--checkpoint", finished, "--data", unsplit, "--format", "json")
    assert json.loads(out)["split"] == "val"
    assert len(err.splitlines()) == 1
    assert "[bold]unsplit.csv names no splits" in err
