import hashlib
import io
import json
import math
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import yaml

from unfreeze import strategies
from unfreeze.data import Manifest, Sample, View
from unfreeze.models import VideoClassifier
from unfreeze.report.console import RunConsole
from unfreeze.training.config import TrainConfig, resolved
from unfreeze.training.resume import check_flags, fingerprint
from unfreeze.training.run import train
from unfreeze.training.session import Session

EPOCHS = 4
STRATEGY_FLAGS = {
    "early_gradual": {},
    "adaptive": {"patience": 1, "min_improvement": 1.0},
    "progressive": {"start_epoch": 2, "interval": 1},
    "fixed": {
        "phases": [
            {"epochs": 1, "blocks": "none"},
            {"epochs": 1, "blocks": "last 2", "lr_scale": 0.5},
            {"epochs": 1, "blocks": "last 1"},
            {"epochs": 1, "blocks": "all"},
        ]
    },
    "head_only": {},
    "none": {},
}
# how many blocks train in each epoch: transitions before every one of them but the first
TRAINED = {
    "early_gradual": [0, 1, 2, 2],
    "adaptive": [0, 0, 1, 2],
    "progressive": [0, 1, 2, 3],
    "fixed": [0, 2, 1, 9],
    "head_only": [0, 0, 0, 0],
    "none": [9, 9, 9, 9],
}
FLAGS = {
    "early_gradual": {"thaw_warmup_steps": 3, "warmup_epochs": 1.5, "layer_decay": 0.7},
    "adaptive": {"scheduler": "plateau", "monitor": "val/loss", "optimizer": "sgd"},
    "progressive": {"scheduler": "onecycle", "accumulate": 2},
    "fixed": {"precision": "fp16", "clip_grad_norm": 1.0, "scheduler": "step"},
    "head_only": {"scheduler": "none", "label_smoothing": 0.1},
    "none": {"optimizer": "rmsprop", "weight_decay": 0.01, "augment": "none"},
}


def same(a, b) -> bool:
    """Equal bit for bit, at any depth."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def untimed(rows):
    times = ("seconds", "clips_per_second", "data_wait")
    return [{key: value for key, value in row.items() if key not in times} for row in rows]


def final(folder):
    content = torch.load(folder / "last.pt", weights_only=True)
    content["config"].pop("output")
    return content | {"rows": untimed(content["rows"])}


@pytest.fixture
def every_last(monkeypatch):
    """Keeps a copy of last.pt after each epoch: what a run killed there would have left."""
    save = Session.save_last

    def save_and_keep(self):
        save(self)
        shutil.copy(self.run_dir.last, self.run_dir.path / f"after_{len(self.rows)}")

    monkeypatch.setattr(Session, "save_last", save_and_keep)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without what resuming does not depend on: the picture, and half precision, which has the scaler act.

    With dropout, though, which r3d_micro lacks and which draws from the global generator.
    """
    forward = VideoClassifier.forward

    def with_dropout(self, x, view_mask=None):
        self.dropout.p = 0.3
        return forward(self, x, view_mask)

    monkeypatch.setattr(VideoClassifier, "forward", with_dropout)
    monkeypatch.setattr("unfreeze.training.run.plot_run", lambda *files: None)
    monkeypatch.setattr("unfreeze.training.run.plot_reports", lambda *files: None)
    for place in ("forward", "prefix.forward", "prefix.engine", "prefix.build"):
        monkeypatch.setattr(f"unfreeze.training.{place}.autocast", lambda *format: nullcontext())


@pytest.mark.parametrize("strategy", TRAINED)
def test_resumed_before_at_and_after_every_transition_is_the_uninterrupted_run(
    run, tmp_path, every_last, strategy
):
    flags = FLAGS[strategy] | {"epochs": EPOCHS, "strategy_flags": STRATEGY_FLAGS[strategy]}
    whole = run(strategy, **flags).run_dir
    expected = final(whole)
    assert [len(row["trainable_blocks"]) for row in expected["rows"]] == TRAINED[strategy]
    for done in range(EPOCHS):
        killed = tmp_path / f"killed_{done}"
        killed.mkdir()
        shutil.copy(whole / f"after_{done}", killed / "last.pt")
        # what the killed run had written of the epoch that it did not finish is dropped
        shutil.copy(whole / "metrics.jsonl", killed)
        resumed = run(strategy, **flags, resume=str(killed))
        assert resumed.run_dir == killed
        assert same(final(killed), expected), f"resumed after epoch {done}"
        rows = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
        assert untimed(rows) == expected["rows"]


@pytest.fixture(scope="module")
def finished(clips, tmp_path_factory):
    """The folder of a run of one epoch, to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    config = TrainConfig(
        data=str(clips), weights="none", epochs=1, batch_size=4, workers=0, run_dir=str(folder)
    )
    train(config, strategies.get("early_gradual")(), RunConsole(io.StringIO()))
    return folder


@pytest.mark.parametrize(
    ("strategy", "flags", "message"),
    [
        (
            "early_gradual",
            {"lr": 0.01, "seed": 5},
            r"other flags: --head_lr 0\.01 \(was 0\.005\), .*, --seed 5 \(was 0\)",
        ),
        (
            "early_gradual",
            {"strategy_flags": {"target_ratio": 0.3}},
            r"--early_gradual_target_ratio 0\.3 \(was 0\.5\)",
        ),
        ("adaptive", {}, r"other flags: --freezing_strategy adaptive \(was early_gradual\); leave"),
        (
            "early_gradual",
            {"epochs": 2},
            r"--epochs 2: the cosine schedule of this run was laid out for 1 epochs",
        ),
    ],
)
def test_flags_that_contradict_the_run_are_named(run, finished, strategy, flags, message):
    before = (finished / "last.pt").read_bytes()
    with pytest.raises(ValueError, match=message):
        run(strategy, **({"epochs": 1} | flags), resume=str(finished))
    assert (finished / "last.pt").read_bytes() == before


def test_flags_that_the_first_version_did_not_know_were_as_they_are_by_default():
    config = TrainConfig(epochs=1, ema=0.9, mixup=0.2, clip_cache="off")
    strategy = strategies.get("early_gradual")()
    flags = {key: value for key, value in resolved(config, strategy).items() if key not in ("ema", "mixup")}
    with pytest.raises(
        ValueError, match=r"other flags: --mixup 0\.2 \(was 0\.0\), --ema 0\.9 \(was none\); leave"
    ):
        check_flags(config, strategy, {"config": flags, "epoch": 0})
    check_flags(TrainConfig(epochs=1), strategy, {"config": flags, "epoch": 0})


@pytest.mark.parametrize(
    ("views", "multilabel", "as_before"),
    [
        ((View(Path("a/1.mp4")),), (), True),
        ((View(Path("a/1.mp4"), start=1.0),), (), False),
        ((View(Path("a/1.mp4"), end=1.0),), (), False),
        ((View(Path("a/1.mp4")), View(Path("a/2.mp4"))), (), False),
        ((View(Path("a/1.mp4")),), ("kind",), False),
    ],
)
def test_data_that_the_first_version_knew_is_told_as_it_was_then(views, multilabel, as_before):
    labels = {"kind": 1, "colour": None}
    tasks = {"kind": ("x", "y"), "colour": ("red", "blue")}
    manifest = Manifest(tasks, (Sample(views, "train", labels),), "here", multilabel=frozenset(multilabel))
    then = {"tasks": tasks, "clips": [["1.mp4", "train", labels]]}
    digest = hashlib.sha256(json.dumps(then, sort_keys=True).encode()).hexdigest()
    assert (fingerprint(manifest) == digest) == as_before


def test_fewer_epochs_than_are_done_are_an_error(run, finished):
    content = torch.load(finished / "last.pt", weights_only=True) | {"epoch": 3}
    with pytest.raises(ValueError, match="--epochs 1: the run has 3 epochs already"):
        check_flags(TrainConfig(**content_flags(content)), strategies.get("early_gradual")(), content)


def content_flags(content):
    return {key: value for key, value in content["config"].items() if key in TrainConfig.__dataclass_fields__}


def test_a_run_whose_learning_rates_do_not_depend_on_its_length_may_be_made_longer(run, tmp_path):
    whole = run(scheduler="none", epochs=2, run_dir=str(tmp_path / "whole"))
    run(scheduler="none", epochs=1, run_dir=str(tmp_path / "longer"))
    longer = run(scheduler="none", epochs=2, resume=str(tmp_path / "longer"), workers=1)
    assert untimed(longer.rows) == untimed(whole.rows)
    assert yaml.safe_load((tmp_path / "longer" / "config.yaml").read_text())["epochs"] == 2


def test_a_finished_run_has_nothing_left_to_do(run, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    result = run(epochs=1, resume=str(tmp_path / "copy"))
    assert len(result.rows) == 1
    assert same(final(tmp_path / "copy"), final(finished))


def test_the_file_of_the_first_weights_is_not_needed_again(run, tmp_path):
    weights = tmp_path / "mine.pt"
    start = run(epochs=1)
    shutil.copy(start.run_dir / "best.pt", weights)
    flags = {"weights": str(weights), "scheduler": "none", "run_dir": str(tmp_path / "run")}
    run(**flags, epochs=1)
    weights.unlink()
    assert len(run(**(flags | {"run_dir": None}), epochs=2, resume=str(tmp_path / "run")).rows) == 2


def test_changed_clips_are_noticed(run, clips, tmp_path):
    folder = tmp_path / "clips"
    shutil.copytree(clips.parent, folder)
    run(data=str(folder / "labels.csv"), epochs=1, run_dir=str(tmp_path / "run"))
    table = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(table.replace("0.mp4,train,left,red", "0.mp4,train,left,blue"))
    with pytest.raises(ValueError, match=r"the clips or labels in .* have changed since the run was started"):
        run(data=str(folder / "labels.csv"), epochs=1, resume=str(tmp_path / "run"))
