"""The folder that evaluate writes, and the data that it takes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from unfreeze.cli import main
from unfreeze.data.formats.mvfoul import ACTIONS, SEVERITIES
from unfreeze.models import build_model
from unfreeze.training.checkpoint import FORMAT, describe_model, save_checkpoint

QUIET = ("--workers", "0", "--device", "cpu")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNFREEZE_CACHE", str(tmp_path_factory.mktemp("cache")))


def run(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main(["evaluate", *map(str, words), *QUIET]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def as_json(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    return json.loads(run(capsys, *words, "--format", "json")[0])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def untrained(path: Path, tasks: dict[str, tuple[str, ...]], data: Path, **how: Any) -> Path:
    """A checkpoint of a model that has learned nothing."""
    model = build_model("r3d_micro", tasks, **how)
    content = {"format": FORMAT, "version": "0", "model": describe_model(model, "r3d_micro", {})}
    config = {"data": str(data), "val_fraction": 0.2, "seed": 0}
    save_checkpoint(path, content | {"config": config, "strategy": {}, "epoch": 0, "rows": [], "best": None})
    return path


def test_the_folder_holds_metrics_pictures_and_every_prediction(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "found"
    printed = as_json(capsys, "--checkpoint", finished, "--output", folder)
    written = json.loads((folder / "metrics.json").read_text())
    assert sorted(written.pop("files")) == sorted(path.name for path in folder.iterdir())
    assert written == printed
    assert sorted(path.name for path in folder.glob("*.png")) == [
        "confusion_motion.png",
        "confusion_object.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.glob("*.png"))
    reports = json.loads((folder / "classes.json").read_text())["tasks"]
    rows = rows_of(folder / "predictions.csv")
    assert [Path(row["path"]).name[:2] for row in rows] == ["08", "09", "10", "11"]
    assert rows[0]["row"] == "labels.csv:10"
    assert {row["split"] for row in rows} == {"val"}
    for task, classes in (("motion", ("left", "right")), ("object", ("disc", "square"))):
        right = sum(row[task] == row[f"predicted({task})"] for row in rows)
        assert right / 4 == printed["metrics"][task]["accuracy"]
        confusion = [
            [sum((row[task], row[f"predicted({task})"]) == (true, said) for row in rows) for said in classes]
            for true in classes
        ]
        assert printed["confusion"][task] == reports[task]["confusion"] == confusion
        for index, row in enumerate(printed["classes"][task]):
            assert (row["name"], row["support"]) == (classes[index], 2)
            assert row["recall"] == confusion[index][index] / 2
        low, high = (printed["intervals"][task]["balanced_accuracy"][side] for side in ("low", "high"))
        assert low <= printed["metrics"][task]["balanced_accuracy"] <= high
        for row in rows:
            values = {name: float(row[f"p({task}={name})"]) for name in classes}
            assert sum(values.values()) == pytest.approx(1, abs=1e-4)
            assert row[f"predicted({task})"] == max(values, key=values.__getitem__)


def test_averaged_weights_are_what_is_measured(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """last.pt has both: averages, and weights to train on with."""
    words = ["--data", clips, "--run_dir", tmp_path / "run", "--epochs", "2", "--batch_size", "4", *QUIET]
    assert main(["train", *map(str, words), "--ema", "0.9", "--lr", "0.01"]) == 0
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    words = ["--checkpoint", tmp_path / "run" / "last.pt", "--output", tmp_path / "a"]
    found = as_json(capsys, *words)["metrics"]
    for task in ("motion", "object"):
        for metric, value in found[task].items():
            assert value == pytest.approx(row["val"][f"{task}/{metric}"], abs=1e-5)


def test_latency_names_what_it_was_measured_with(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--checkpoint", finished, "--output", tmp_path / "a", "--batch_size", "1")
    latency = as_json(capsys, *words)["latency"]
    assert (latency["batch_size"], latency["batches"], latency["device"]) == (1, 3, "cpu")
    model, whole = latency["model_ms_per_clip"], latency["end_to_end_ms_per_clip"]
    assert 0 < model["median"] <= model["p95"]
    assert model["median"] < whole["median"]


def test_the_console_has_a_row_per_class(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = run(capsys, "--checkpoint", finished, "--output", tmp_path / "a")
    lines = [line.split() for line in out.splitlines()]
    assert ["motion", "recall", "precision", "f1", "support"] in lines
    assert {line[0] for line in lines if line and line[-1] == "2"} == {"left", "right", "disc", "square"}
    assert "in batches of 4 on cpu" in out
    assert str(tmp_path / "a") in out


def test_by_default_it_is_beside_the_checkpoint_under_a_name_that_says_what_it_is(
    finished: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = tmp_path / "run"
    shutil.copytree(finished, run_folder, ignore=shutil.ignore_patterns("evaluation*"))
    before = {path.name for path in run_folder.iterdir()}
    run(capsys, "--checkpoint", run_folder)
    run(capsys, "--checkpoint", run_folder / "last.pt", "--split", "train")
    run(capsys, "--checkpoint", run_folder, "--data", clips, "--split", "all")
    made = {path.name for path in run_folder.iterdir()} - before
    assert made == {"evaluation_val", "evaluation_last_train", "evaluation_labels_all"}


def test_an_evaluation_replaces_an_evaluation_and_nothing_else(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "found"
    run(capsys, "--checkpoint", finished, "--output", folder)
    (folder / "mine.txt").write_text("mine")
    run(capsys, "--checkpoint", finished, "--output", folder, "--tasks", "motion")
    assert sorted(path.name for path in folder.iterdir()) == [
        "classes.json",
        "confusion_motion.png",
        "metrics.json",
        "mine.txt",
        "predictions.csv",
    ]
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.json").write_text('{"mine": 1}')
    for name, part in ((other, "holds files that no evaluation wrote"), (folder / "mine.txt", "is a file")):
        out, err = run(capsys, "--checkpoint", finished, "--output", name, code=2)
        assert out == ""
        assert err.count("\n") == 1
        assert part in err
    assert (other / "metrics.json").read_text() == '{"mine": 1}'


def test_more_clips_and_crops_are_averaged(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--checkpoint", finished, "--output", tmp_path / "a", "--format", "json")
    run(capsys, *words)
    one = rows_of(tmp_path / "a" / "predictions.csv")
    run(capsys, *words, "--eval_clips", "3", "--eval_crops", "3")
    many = rows_of(tmp_path / "a" / "predictions.csv")
    assert [row["path"] for row in one] == [row["path"] for row in many]
    assert [row["p(motion=left)"] for row in one] != [row["p(motion=left)"] for row in many]


def test_several_views_masked_labels_and_several_labels(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(clips.parent.glob("*.mp4"))
    lines = ["path,motion,things,split,id"]
    for number in range(6):
        things = ("disc", "square", "disc|square", "disc", "square", "")[number]
        motion = "" if number == 3 else ("left", "right")[number % 2]
        lines.append(f"{files[number]},{motion},{things},val,{number}")
        if number % 2:  # a second view
            lines.append(f"{files[number + 6]},{motion},{things},val,{number}")
    (tmp_path / "views.csv").write_text("\n".join(lines) + "\n")
    tasks = {"motion": ("left", "right"), "things": ("disc", "square")}
    checkpoint = untrained(
        tmp_path / "best.pt", tasks, tmp_path / "views.csv", multilabel={"things"}, views="attention"
    )
    found = as_json(capsys, "--checkpoint", checkpoint, "--output", tmp_path / "found", "--batch_size", "4")
    assert found["clips"] == 6
    assert sum(row["support"] for row in found["classes"]["motion"]) == 5
    assert [row["support"] for row in found["classes"]["things"]] == [3, 3]
    rows = rows_of(tmp_path / "found" / "predictions.csv")
    assert [len(row["path"].split("|")) for row in rows] == [1, 2, 1, 2, 1, 2]
    assert [row["motion"] for row in rows] == ["left", "right", "left", "", "left", "right"]
    assert [row["things"] for row in rows] == ["disc", "square", "disc|square", "disc", "square", ""]
    for row in rows:
        said = [name for name in tasks["things"] if float(row[f"p(things={name})"]) > 0.5]
        assert row["predicted(things)"] == "|".join(said)


def test_mvfoul_has_the_challenges_metric_and_predictions(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(clips.parent.glob("*.mp4"))
    severities = (("No Offence", ""), ("Offence", "1.0"), ("Offence", "3.0"), ("Offence", "5.0"))
    actions = {}
    folder = tmp_path / "mvfoul" / "Valid"
    for number in range(4):
        (folder / f"action_{number}").mkdir(parents=True)
        for view in range(2):
            shutil.copy(files[2 * number + view], folder / f"action_{number}" / f"clip_{view}.mp4")
        offence, severity = severities[number]
        actions[str(number)] = {
            "UrlLocal": f"match {number}",
            "Offence": offence,
            "Severity": severity,
            "Action class": ACTIONS[number],
            "Clips": [{"Url": f"x/Valid/action_{number}/clip_{view}.mp4"} for view in range(2)],
        }
    actions["9"] = {**actions["0"], "Action class": "Dont know"}  # the filter drops it
    text = json.dumps({"Set": "valid", "Number of actions": 5, "Actions": actions})
    (folder / "annotations.json").write_text(text)
    tasks = {"action": ACTIONS, "severity": SEVERITIES}
    checkpoint = untrained(tmp_path / "best.pt", tasks, tmp_path / "mvfoul")
    words = ("--checkpoint", checkpoint, "--output", tmp_path / "found")
    found = as_json(capsys, *words)
    scores = found["mvfoul"]["Valid"]
    # by the definition of the metric: classes that occur, and the mean of the two tasks, in percent
    measured = [100 * found["metrics"][task]["balanced_accuracy"] for task in tasks]
    assert scores["corrected"]["leaderboard_value"] == pytest.approx(sum(measured) / 2)
    assert scores["official"]["leaderboard_value"] is None  # as no action is a dive, which the script wants
    predicted = json.loads((tmp_path / "found" / "mvfoul_Valid.json").read_text())
    assert predicted["Set"] == "valid"
    rows = rows_of(tmp_path / "found" / "predictions.csv")
    assert [entry["Action class"] for entry in predicted["Actions"].values()] == [
        row["predicted(action)"] for row in rows
    ]
    assert "MVFoul Valid, leaderboard value: none official" in run(capsys, *words)[0]
    alone = as_json(capsys, *words, "--tasks", "action")
    assert "mvfoul" not in alone


def test_a_bad_file_may_be_left_out_by_name(
    finished: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [Path(shutil.copy(path, tmp_path)) for path in sorted(clips.parent.glob("*.mp4"))[:3]]
    (tmp_path / "junk.mp4").write_bytes(b"no video")
    names = [*(path.name for path in good), "junk.mp4"]
    lines = ["path,motion,object,split", *(f"{name},left,disc,val" for name in names)]
    (tmp_path / "some.csv").write_text("\n".join(lines) + "\n")
    words = ("--checkpoint", finished, "--data", tmp_path / "some.csv", "--output", tmp_path / "out")
    assert "junk.mp4" in run(capsys, *words, code=2)[1]
    out, err = run(capsys, *words, "--allow_bad", "junk.mp4", good[0].name, "--format", "json")
    assert json.loads(out)["clips"] == 3
    assert len(rows_of(tmp_path / "out" / "predictions.csv")) == 3
    assert err.count("\n") == 1
    assert "junk.mp4" in err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--data", "{junk}"], ["junk.mp4", "cannot be decoded"]),
        (["--data", "{clips}", "--data_format", "foler"], ["'foler'", "did you mean 'folder'?"]),
        (["--data", "{junk}", "--allow_bad", "junk.mp4"], ["all clips of the split val are bad", "junk.mp4"]),
        (["--eval_clips", "0"], ["--eval_clips must be at least 1"]),
        (["--eval_crops", "2"], ["--eval_crops: expected one of 1, 3"]),
        (["--decoder", "decord"], ["--decoder: expected one of auto, torchcodec, pyav"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_input(
    words: list[str], parts: list[str], finished: Path, clips: Path, tmp_path: Path, capsys
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "junk.mp4").write_bytes(b"no video")
    (tmp_path / "junk.csv").write_text("path,motion,object,split\njunk.mp4,left,disc,val\n")
    given = [word.format(junk=tmp_path / "junk.csv", clips=clips) for word in words]
    out, err = run(capsys, "--checkpoint", finished, "--output", tmp_path / "out", *given, code=2)
    assert out == ""
    assert err.count("\n") == 1, err
    assert all(part in err for part in parts), err
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.parametrize("averaged", [[], ["--ema", "0.9"]])
def test_it_measures_as_training_did(
    averaged: list[str], clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several moments and crops of each clip, and of the averaged weights where there are any."""
    flags = ["--data", str(clips), "--epochs", "2", "--batch_size", "4", "--fps", "8", *averaged]
    flags += ["--eval_clips", "2", "--eval_crops", "3", "--run_dir", str(tmp_path / "run")]
    assert main(["train", *flags, *QUIET]) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    for name in ("best.pt", "last.pt"):
        found = as_json(capsys, "--checkpoint", tmp_path / "run" / name)
        trained = json.loads(lines[found["epoch"] - 1])["val"]
        loss = found["metrics"]["motion"]["loss"]
        assert loss == pytest.approx(trained["motion/loss"], abs=1e-5)
    once = as_json(
        capsys, "--checkpoint", tmp_path / "run", "--eval_clips", "1", "--output", tmp_path / "one"
    )
    assert once["metrics"]["motion"]["loss"] != pytest.approx(loss, abs=1e-5)
