"""What users get wrong, one row each: one line with culprit and remedy, exit code 2, nothing overwritten."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from unfreeze.cli import main

SMALL = ("--workers", "0", "--batch_size", "4", "--device", "cpu")


@dataclass
class Place:
    """Where a row of the table may make files: an empty folder, a copy of the clips, and a finished run."""

    folder: Path
    labels: Path
    run: Path

    def file(self, name: str, content: str | bytes = "") -> str:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def relabelled(self, change: Callable[[list[str]], list[str]]) -> str:
        """The CSV file with other lines; the header stays."""
        header, *lines = self.labels.read_text().splitlines()
        self.labels.write_text("\n".join([header, *change(lines)]) + "\n")
        return str(self.labels)


@pytest.fixture
def place(tmp_path: Path, clips: Path, finished: Path) -> Place:
    folder = tmp_path / "clips"
    shutil.copytree(clips.parent, folder)
    run = tmp_path / "finished"
    shutil.copytree(finished, run)
    return Place(tmp_path, folder / clips.name, run)


# flags of `train` -> what the line must contain; {} are filled from the place
FLAGS = [
    (["--freezing_strategy", "adaptiv"], ["freezing strategy 'adaptiv'", "did you mean 'adaptive'?"]),
    (["--optimizer", "adamm"], ["'adamm'", "did you mean 'adam"]),
    (["--scheduler", "cosin"], ["'cosin'", "did you mean 'cosine"]),
    (["--optimizer_args.momentun", "0.9", "--optimizer", "sgd"], ["momentun", "did you mean 'momentum'?"]),
    (["--scheduler_args.T_00", "5"], ["T_00"]),
    (["--model", "r3d_mikro"], ["'r3d_mikro'", "did you mean 'r3d_micro'?"]),
    (["--tasks", "motoin"], ["'motoin'", "did you mean 'motion'?"]),
    (["--monitor", "val/acuracy"], ["val/acuracy", "did you mean 'val/accuracy'?"]),
    (["--early_gradual_traget_ratio", "0.5"], ["did you mean '--early_gradual_target_ratio'?"]),
    (["--early_gradual_target", "0.5"], ["unknown flag --early_gradual_target"]),
    (
        ["--early_gradual_target_ratio", "1.5"],
        ["--early_gradual_target_ratio must be at least 0 and at most 1, not 1.5"],
    ),
    (["--epochs", "0"], ["--epochs must be at least 1, not 0"]),
    (["--epochs", "many"], ["--epochs: expected a whole number, not 'many'"]),
    (["--lr", "-1"], ["--lr must be above 0"]),
    (["--precision", "fp61"], ["--precision: expected one of", "did you mean 'fp16'?"]),
    (
        ["--folds", "4", "--fold", "1", "--val_fraction", "0.3"],
        ["--val_fraction 0.3 says nothing beside --folds 4"],
    ),
    (["--cache", "of"], ["--cache: expected one of auto, ram, disk, off", "did you mean 'off'?"]),
    (["--cache", "off", "--cache_gb", "1"], ["--cache_gb 1.0 says nothing with --cache off"]),
    (["--cache", "off", "--cache_refresh", "0.1"], ["--cache_refresh 0.1 says nothing with --cache off"]),
    (["--cache", "ram", "--cache_dir", "there"], ["--cache_dir there says nothing with --cache ram"]),
    (["--cache", "disk", "--cache_dir", __file__], ["--cache_dir", "is a file; name a folder"]),
    (["--cache", "ram", "--cache_gb", "1e9"], ["--cache ram --cache_gb 1e+09: only", "are free in memory"]),
    (["--cache_refresh", "2"], ["--cache_refresh must be at least 0 and at most 1, not 2"]),
    (["--exact", "--compile"], ["--compile and --exact contradict each other"]),
    (["--exact", "--cache_dtype", "bf16"], ["--cache_dtype bf16 and --exact contradict each other"]),
    (["--check", "none", "--max_bad", "3"], ["--max_bad 3 says nothing with --check none"]),
    (["--adaptive_patience", "3"], ["--adaptive_patience belongs to the strategy adaptive", "early_gradual"]),
    (["--phase1_epochs", "3"], ["--phase1_epochs belongs to the strategy fixed"]),
    (["--gradual_finetuning", "--freezing_strategy", "adaptive"], ["--gradual_finetuning means the fixed"]),
    (["--gradual_finetuning", "--epochs", "3"], ["--epochs 3 contradicts the phases of fixed"]),
    (["--device", "mps"], ["--device mps"]),
    (["--data", "nowhere"], ["there is no data set nowhere"]),
    (["--weights", "nowhere.pth"], ["nowhere.pth"]),
    (["--data", ""], ["--data is empty"]),
    (["--tasks", ""], ["--tasks is empty"]),
    (["--optimizer_args.lr", "0.1"], ["--optimizer_args.lr cannot be set: say --lr"]),
    (["--optimizer_args.differentiable", "true"], ["--optimizer_args.differentiable", "leave it out"]),
    (["--optimizer_args", "{1: 2}"], ["--optimizer_args: there is no argument 1"]),
    (["--scheduler", "plateau", "--scheduler_args.mode", "min"], ["--scheduler_args.mode", "--monitor"]),
    (["--scheduler_args.optimizer", "sgd"], ["--scheduler_args: there is no argument 'optimizer'"]),
    (["--resume", "nowhere"], ["--resume nowhere", "does not exist"]),
    (["--config", "nowhere.yaml"], ["there is no file nowhere.yaml"]),
]


@pytest.mark.parametrize(
    ("words", "parts"), FLAGS, ids=lambda value: " ".join(value) if value[0][0] == "-" else ""
)
def test_a_wrong_flag(
    words: list[str], parts: list[str], clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [] if "--data" in words else ["--data", str(clips)]
    fails(["train", *data, *words], parts, tmp_path, capsys)


def unreadable(place: Place) -> list[str]:
    (place.labels.parent / "00_left_disc.mp4").write_bytes(b"this is no video")
    return ["--data", str(place.labels)]


def empty_folder(place: Place) -> list[str]:
    (place.folder / "empty").mkdir()
    return ["--data", str(place.folder / "empty")]


def used_folder(place: Place) -> list[str]:
    return ["--data", str(place.labels), "--run_dir", str(place.run)]


def misfit(place: Place) -> list[str]:
    torch.save({"layer9.weight": torch.zeros(3)}, place.folder / "misfit.pth")
    return ["--data", str(place.labels), "--weights", str(place.folder / "misfit.pth")]


def clips_and(place: Place, *words: str) -> list[str]:
    return ["--data", str(place.labels), *words]


def csv(place: Place, change: Callable[[list[str]], list[str]]) -> list[str]:
    return ["--data", place.relabelled(change)]


def phases(place: Place, text: str) -> list[str]:
    return clips_and(place, "--freezing_strategy", "fixed", "--phases", place.file("phases.yaml", text))


# what makes the flags of `train` -> what the line must contain
FILES: dict[str, tuple[Callable[[Place], list[str]], list[str]]] = {
    "no clips": (lambda p: csv(p, lambda lines: []), ["labels.csv"]),
    "an empty folder": (empty_folder, ["empty"]),
    "an unreadable video": (unreadable, ["00_left_disc.mp4"]),
    "a missing video": (lambda p: csv(p, lambda lines: ["gone.mp4,left,disc,train", *lines]), ["gone.mp4"]),
    "a class only in val": (
        lambda p: csv(
            p,
            lambda lines: [*lines[:-1], lines[-1].replace(",square,", ",cone,").replace(",disc,", ",cone,")],
        ),
        ["cone", "val"],
    ),
    "an unknown split": (
        lambda p: csv(p, lambda lines: [*lines[:-1], lines[-1].replace(",val", ",vla")]),
        ["vla"],
    ),
    "weights that do not fit": (misfit, ["misfit.pth", "layer9.weight"]),
    "weights that are none": (lambda p: clips_and(p, "--weights", p.file("x.pth", "hello")), ["x.pth"]),
    "a run folder with files": (used_folder, ["finished", "--run_dir"]),
    "a run folder below a file": (
        lambda p: clips_and(p, "--run_dir", p.file("file") + "/run"),
        ["file", "--run_dir"],
    ),
    "an unknown block": (
        lambda p: phases(p, "- {epochs: 1, blocks: layer4.2}\n"),
        ["'layer4.2'", "did you mean 'layer4."],
    ),
    "a phase without epochs": (
        lambda p: phases(p, "- {blocks: all}\n"),
        ["phases.yaml", "phase 1", "epochs"],
    ),
    "a field of two phases beside a list of phases": (
        lambda p: [*phases(p, "- {epochs: 1, blocks: all}\n"), "--phase1_epochs", "5"],
        ["--phases says everything; leave out --phase1_epochs 5"],
    ),
    "phases that are no YAML": (
        lambda p: phases(p, "- {epochs: 1\n- x: y: z"),
        ["phases.yaml:2", "not YAML"],
    ),
    "an unknown key": (
        lambda p: clips_and(p, "--config", p.file("c.yaml", "epochs: 1\nepohcs: 2\n")),
        ["c.yaml:2: unknown key 'epohcs'; did you mean 'epochs'?"],
    ),
    "a wrong value in the config": (
        lambda p: clips_and(p, "--config", p.file("c.yaml", "\nlr: fast\n")),
        ["c.yaml:2: lr: expected a number, not 'fast'"],
    ),
    "a config that is no YAML": (
        lambda p: clips_and(p, "--config", p.file("c.yaml", "epochs: 1\nlr: [\n")),
        ["c.yaml:3", "not YAML"],
    ),
    "another strategy's key": (
        lambda p: clips_and(
            p, "--config", p.file("c.yaml", "freezing_strategy: none\nadaptive_patience: 3\n")
        ),
        ["--adaptive_patience belongs to the strategy adaptive, but none is selected"],
    ),
    "other flags than the resumed run's": (lambda p: ["--resume", str(p.run), "--lr", "3"], ["--head_lr 3"]),
    "another strategy than the resumed run's": (
        lambda p: ["--resume", str(p.run), "--freezing_strategy", "none"],
        ["was started with --freezing_strategy early_gradual, not none"],
    ),
    "another folder than the resumed run's": (
        lambda p: ["--resume", str(p.run), "--run_dir", str(p.folder / "other")],
        ["--run_dir", "its own folder"],
    ),
    "a resumed run without its last.pt": (
        lambda p: [(p.run / "last.pt").unlink() or "--resume", str(p.run)],
        ["holds no last.pt"],
    ),
    "a damaged last.pt": (
        lambda p: [(p.run / "last.pt").write_bytes(b"PK") and "--resume", str(p.run)],
        ["last.pt is damaged"],
    ),
}


@pytest.mark.parametrize("row", FILES)
def test_a_wrong_file(row: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    words, parts = FILES[row]
    fails(["train", *words(place)], parts, place.folder, capsys)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs a folder that nobody can write to")
def test_a_read_only_run_folder(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    # root may write to any ordinary folder, but makes no folders in that of its own process
    locked = folder if os.geteuid() else Path("/proc/self")
    if not os.geteuid() and not locked.is_dir():
        pytest.skip("no folder that root cannot write to")
    fails(["train", "--data", str(clips), "--run_dir", str(locked / "run")], [str(locked)], tmp_path, capsys)


def test_a_full_disk(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk fills up when the first checkpoint is saved."""

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    parts = ["No space left on device", "last.pt", "free space"]
    fails(["train", "--data", str(clips), "--run_dir", str(tmp_path / "run")], parts, tmp_path, capsys)
    assert not list((tmp_path / "run").glob("*.tmp"))


CHECKPOINT = [
    (["evaluate"], ["--checkpoint is needed"]),
    (["evaluate", "--checkpoint", "nowhere.pt"], ["there is no checkpoint nowhere.pt"]),
    (["evaluate", "--checkpoint", "{folder}"], ["holds no best.pt"]),
    (["evaluate", "--checkpoint", "{junk}"], ["junk.pt is damaged or no checkpoint"]),
    (
        ["evaluate", "--checkpoint", "{run}", "--split", "vla"],
        ["--split: expected one of", "did you mean 'val'?"],
    ),
    (["evaluate", "--checkpoint", "{run}", "--split", "test"], ["no clips in the split test", "--split"]),
    (["evaluate", "--checkpoint", "{run}", "--data", "nowhere"], ["there is no data set nowhere"]),
    (["evaluate", "--checkpoint", "{run}", "--tasks", "motoin"], ["'motoin'", "did you mean 'motion'?"]),
    (["evaluate", "--checkpoint", "{run}", "--batch_size", "0"], ["--batch_size must be at least 1"]),
    (["predict", "--checkpoint", "{run}"], ["name at least one video file"]),
    (["predict", "", "--checkpoint", "{run}"], ["name at least one video file"]),
    (["predict", "x.mp4"], ["--checkpoint is needed"]),
    (["predict", "{folder}", "--checkpoint", "{run}"], ["holds no video files"]),
    (["predict", "x.mp4", "--checkpoint", "{run}", "--top_k", "0"], ["--top_k must be at least 1"]),
    (["predict", "x.mp4", "--checkpoint", "{run}", "--topk", "1"], ["unknown flag --topk", "--top_k"]),
]


@pytest.mark.parametrize(("words", "parts"), CHECKPOINT, ids=lambda value: " ".join(value))
def test_a_wrong_use_of_a_checkpoint(
    words: list[str], parts: list[str], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "junk.pt").write_bytes(b"junk")
    (tmp_path / "empty").mkdir()
    known = {"folder": tmp_path / "empty", "junk": tmp_path / "junk.pt", "run": finished}
    fails([word.format(**known) for word in words], parts, tmp_path, capsys, output=False)


def fails(
    words: list[str],
    parts: list[str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    output: bool = True,
) -> None:
    """Run ``words``; exit code 2 and one line with all ``parts``; what was in ``folder`` is as it was."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    command, *rest = words
    code = main([command, *(["--output", str(folder / "runs"), *SMALL] if output else []), *rest])
    captured = capsys.readouterr()
    assert code == 2, captured
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("unfreeze: error: ")
    for part in parts:
        assert part in lines[0]
    assert all(path.read_bytes() == content for path, content in before.items())
