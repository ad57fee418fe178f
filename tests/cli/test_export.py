"""export on a finished run: files that other programs can run, a sidecar that says how, nothing half done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from unfreeze.cli import main
from unfreeze.data import ClipDataset, Sample, View
from unfreeze.training import export
from unfreeze.training.checkpoint import load_for_inference


def clip_of(path: Path, model) -> torch.Tensor:  # type: ignore[no-untyped-def]
    sample = Sample((View(path),), "test", dict.fromkeys(model.tasks), row="")
    return ClipDataset([sample], model.tasks, model.preprocessing, train=False)[1, 0]["video"]


def in_torch(file: Path, clips: torch.Tensor, described: dict) -> dict[str, torch.Tensor]:
    return torch.export.load(file).module()(clips)


def in_onnx(file: Path, clips: torch.Tensor, described: dict) -> dict[str, torch.Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = {task: output["name"] for task, output in described["outputs"].items()}
    found = session.run(list(names.values()), {described["input"]["name"]: clips.numpy()})
    return dict(zip(names, map(torch.from_numpy, found), strict=True))


@pytest.mark.parametrize(
    ("format", "suffix", "read"), [("torch", "pt2", in_torch), ("onnx", "onnx", in_onnx)]
)
def test_the_file_gives_what_the_checkpoint_gives(
    format: str,
    suffix: str,
    read,
    finished: Path,
    clips: Path,
    tmp_path: Path,
    capsys,  # type: ignore[no-untyped-def]
) -> None:
    output = tmp_path / f"model.{suffix}"
    capsys.readouterr()
    assert main(["export", "--checkpoint", str(finished), "--format", format, "--output", str(output)]) == 0
    captured = capsys.readouterr()
    assert str(output) in captured.out
    assert "08_left_disc.mp4" in captured.out  # the run's first validation clip
    assert captured.err == ""
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"model.{suffix}", f"model.{suffix}.json"]

    model, content = load_for_inference(finished / "best.pt")
    described = json.loads((tmp_path / f"model.{suffix}.json").read_text())
    assert described["outputs"]["motion"]["classes"] == ["left", "right"]
    assert described["outputs"]["motion"]["probabilities"] == "softmax"
    assert described["preprocessing"] == model.preprocessing.to_dict()
    assert described["epoch"] == content["epoch"]
    assert described["input"]["shape"] == ["batch", 3, 8, 48, 48]
    assert (described["opset"] is None) == (format == "torch")
    assert torch.__version__.startswith(described["versions"]["torch"])
    # files that the export did not see, in a batch of a size that it did not see
    batch = torch.cat([clip_of(path, model) for path in sorted(clips.parent.glob("*.mp4"))[:5]])
    found = read(output, batch, described)
    with torch.no_grad():
        for task, logits in model(batch).items():
            torch.testing.assert_close(found[task], logits, atol=1e-4, rtol=1e-4)


def test_without_the_runs_data_a_clip_must_be_named(
    finished: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(finished / "best.pt", weights_only=True)
    content["config"]["data"] = str(tmp_path / "gone.csv")
    torch.save(content, tmp_path / "alone.pt")
    words = ["export", "--checkpoint", str(tmp_path / "alone.pt")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "gone.csv" in error
    assert "--clip" in error
    assert not (tmp_path / "alone.pt2").exists()
    clip = next(clips.parent.glob("*.mp4"))
    assert main([*words, "--clip", str(clip)]) == 0
    assert clip.name in capsys.readouterr().out
    assert json.loads((tmp_path / "alone.pt2.json").read_text())["checked_on"] == str(clip)
    assert (tmp_path / "alone.pt2").is_file()  # beside the checkpoint, under its name


def test_a_file_that_does_not_agree_is_not_kept(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exporter is made to write another model than the one that it was given."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(finished / "best.pt", run)
    whole = export._program

    def other(model, clip, format):  # type: ignore[no-untyped-def]
        import copy

        changed = copy.deepcopy(model)
        with torch.no_grad():
            changed.heads["motion"].bias += torch.tensor([0.0, 0.1])
        return whole(changed, clip, format)

    monkeypatch.setattr(export, "_program", other)
    assert main(["export", "--checkpoint", str(run)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "does not agree" in captured.err
    assert "'motion' differs by up to 0.1" in captured.err
    assert [file.name for file in run.iterdir()] == ["best.pt"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["--checkpoint is needed"]),
        (["--checkpoint", "nowhere.pt"], ["there is no checkpoint nowhere.pt"]),
        (["--checkpoint", "{run}", "--format", "tflite"], ["--format: expected one of torch, onnx"]),
        (["--checkpoint", "{run}", "--output", "{tmp}/m.onnx"], ["m.onnx", "--format torch writes .pt2"]),
        (["--checkpoint", "{run}", "--output", "{tmp}/there.pt2"], ["there.pt2 is there already"]),
        (["--checkpoint", "{run}", "--output", "{tmp}/notes.pt2"], ["notes.pt2.json is there already"]),
        (["--checkpoint", "{run}", "--output", "{tmp}/no/m.pt2"], ["there is no folder"]),
        (["--checkpoint", "{run}", "--output", "{tmp}/m.pt2", "--clip", "no.mp4"], ["no.mp4: no such file"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_input(
    words: list[str], parts: list[str], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("there.pt2", "notes.pt2.json"):
        (tmp_path / name).write_text("mine")
    assert main(["export", *(word.format(run=finished, tmp=tmp_path) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(part in error for part in parts), error
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "there.pt2": "mine",
        "notes.pt2.json": "mine",
    }


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(
    package: str,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest)
    )
    words = ["export", "--checkpoint", str(finished), "--format", "onnx", "--output", f"{tmp_path}/m.onnx"]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"unfreeze: error: --format onnx needs the package {package}: pip install 'unfreeze[export]'\n"
    )
