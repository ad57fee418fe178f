"""Runs with everything on at once: what each flag promises by itself holds in company, too."""

import io
import json
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from unfreeze import strategies
from unfreeze.cli import main
from unfreeze.cli.evaluate import per_task
from unfreeze.data.clip_cache import open_cache
from unfreeze.data.decode import torchcodec
from unfreeze.report.console import RunConsole
from unfreeze.training import run as run_module
from unfreeze.training.config import FREE_ON_RESUME, TrainConfig
from unfreeze.training.run import train
from unfreeze.training.session import Session
from unfreeze.training.step import Stepper

EPOCHS = 4
EVERYTHING = {
    "views": "attention",
    "balance": ("sampler+logit_adjustment",),
    "mixup": 0.4,
    "cutmix": 1.0,
    "augment": "strong",
    "flip_swap": {"motion": {"left": "right"}},
    "ema": 0.9,
    "task_weights": ("auto",),
    "head_init": "class_means",
    "dropout": 0.2,
    "eval_clips": 2,
    "eval_crops": "3",
    "early_stopping": 3,
    "accumulate": 2,
    "batch_size": 2,
    "fps": 8.0,
    "frames": 8,
    "warmup_epochs": 0.5,
    "thaw_warmup_steps": 2,
    "layer_decay": 0.8,
    "clip_grad_norm": 1.0,
    "label_smoothing": 0.1,
    "monitor": "val/loss",
    "epochs": EPOCHS,
}
STRATEGIES = {
    "early_gradual": {},
    "adaptive": {"patience": 1, "min_improvement": 1.0},
    "fixed": {
        "phases": [
            {"epochs": 1, "blocks": "none"},
            {"epochs": 1, "blocks": "last 2"},
            {"epochs": 1, "blocks": "last 1"},
            {"epochs": 1, "blocks": "last 3"},
        ]
    },
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("unfreeze.training.run.plot_run", lambda *files: None)
    monkeypatch.setattr("unfreeze.training.run.plot_reports", lambda *files: None)


@pytest.fixture
def full(run, events):
    """Trains with everything on; keyword arguments are flags that differ."""

    def start(strategy, **flags):
        basis = EVERYTHING | {"data": str(events), "strategy_flags": STRATEGIES.get(strategy)}
        return run(strategy, **(basis | flags))

    return start


def same(a, b) -> bool:
    """Equal bit for bit, at any depth."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def untimed(rows):
    times = ("seconds", "clips_per_second", "data_wait")
    return [{key: value for key, value in row.items() if key not in times} for row in rows]


def left_by(folder):
    """All that a run leaves behind which does not depend on the machine or the clock."""
    found = {}
    for name in ("last.pt", "best.pt"):
        content = torch.load(folder / name, weights_only=True)
        for flag in (*FREE_ON_RESUME, "parallel"):
            content["config"].pop(flag, None)
        found[name] = content | {"rows": untimed(content["rows"])}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return found | {"rows": untimed(rows), "classes": json.loads((folder / "classes.json").read_text())}


@pytest.mark.parametrize(
    ("strategy", "cache"), [("early_gradual", "disk"), ("adaptive", "ram"), ("fixed", "off")]
)
def test_resumed_after_any_epoch_it_is_the_uninterrupted_run(full, tmp_path, monkeypatch, strategy, cache):
    save = Session.save_last

    def save_and_keep(self):
        save(self)
        if self.run_dir.path.name == "whole":  # all files, as a run killed here would leave them
            shutil.copytree(self.run_dir.path, tmp_path / f"after_{len(self.rows)}")

    monkeypatch.setattr(Session, "save_last", save_and_keep)
    full(strategy, clip_cache=cache, run_dir=str(tmp_path / "whole"))
    expected = left_by(tmp_path / "whole")
    trained = [len(row["trainable_blocks"]) for row in expected["rows"]]
    assert len(set(trained)) > 2, trained
    for done in range(EPOCHS):
        killed = tmp_path / f"after_{done}"
        # the next epoch's best.pt may have been written when last.pt was not
        if done < EPOCHS - 1 and (tmp_path / f"after_{done + 1}" / "best.pt").exists():
            shutil.copy(tmp_path / f"after_{done + 1}" / "best.pt", killed)
        full(strategy, clip_cache=cache, resume=str(killed))
        assert same(left_by(killed), expected), f"resumed after epoch {done}"


@pytest.fixture(scope="module")
def plain(events, tmp_path_factory):
    """What a run leaves that decodes everything anew, in its own process; and its folder."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    flags = EVERYTHING | {"data": str(events), "epochs": 2, "workers": 0, "clip_cache": "off"}
    config = TrainConfig(**flags, weights="none", decoder="pyav", run_dir=str(folder))
    train(config, strategies.get("early_gradual")(), RunConsole(io.StringIO()))
    return left_by(folder), folder


@pytest.mark.parametrize(
    "flags",
    [
        {"clip_cache": "ram", "workers": 2},
        {"clip_cache": "disk"},
        {"clip_cache": "disk", "workers": 2},  # which finds everything there
        {"clip_cache": "ram", "clip_cache_gb": 1e-4},  # which is too small
        {"decoder": "torchcodec"},
        {"parallel": "dp"},
    ],
    ids=lambda flags: "-".join(map(str, flags.values())),
)
def test_neither_cache_nor_workers_nor_decoder_nor_dp_change_a_bit(full, plain, tmp_path, flags):
    if flags.get("decoder") == "torchcodec" and torchcodec.why_not() is not None:
        pytest.skip(f"TorchCodec: {torchcodec.why_not()}")
    if "parallel" in flags and torch.cuda.is_available():
        pytest.skip("there are GPUs")
    basis = {"clip_cache": "off", "decoder": "pyav", "epochs": 2, "run_dir": str(tmp_path / "run")}
    full("early_gradual", **(basis | flags))
    assert same(left_by(tmp_path / "run"), plain[0])


def test_evaluate_measures_best_as_the_run_did(plain, tmp_path, capsys):
    """Averaged weights, several moments and crops, masked views: all without being told."""
    folder = plain[1]
    words = ["evaluate", "--checkpoint", str(folder), "--workers", "0", "--format", "json"]
    assert main([*words, "--output", str(tmp_path / "found")]) == 0
    found = json.loads(capsys.readouterr().out)
    best = torch.load(folder / "best.pt", weights_only=True)
    logged = per_task(best["rows"][-1]["val"])
    assert found["epoch"] == best["best"]["epoch"]
    assert found["metrics"].keys() == logged.keys() == {"motion", "tags", "mean"}
    for task, metrics in logged.items():
        assert found["metrics"][task] == pytest.approx(metrics, abs=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_trains_in_half_precision(full, precision):
    result = full("none", precision=precision, epochs=1, eval_clips=1, eval_crops="1")
    assert len(result.rows) == 1
    state = torch.load(result.run_dir / "best.pt", weights_only=True)["model"]["state"]
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def watch_caches(monkeypatch):
    """The caches that are made from now on; held, so that nothing but ``close`` removes them."""
    made = []

    def keep(choice):
        made.append(open_cache(choice))
        return made[-1]

    monkeypatch.setattr("unfreeze.training.clips.open_cache", keep)
    return made


def test_a_loss_that_is_not_finite_keeps_what_was_there_and_leaves_no_cache(full, tmp_path, monkeypatch):
    folder, backward = tmp_path / "run", Stepper.backward

    def diverge_in_epoch_2(self, window, epoch, step, weights):
        for batch, sums in backward(self, window, epoch, step, weights):
            yield batch, {t: s * (float("nan") if epoch == 2 else 1) for t, s in sums.items()}

    monkeypatch.setattr(Stepper, "backward", diverge_in_epoch_2)
    made = watch_caches(monkeypatch)
    with pytest.raises(ValueError, match="became nan in epoch 2 at step 1"):
        full("early_gradual", clip_cache="ram", run_dir=str(folder))
    assert len(made) == 1
    assert not made[0].folder.exists()
    last, best = (torch.load(folder / name, weights_only=True) for name in ("last.pt", "best.pt"))
    assert last["epoch"] == best["epoch"] == 1
    for tensor in (*best["model"]["state"].values(), *last["training"]["ema"]["averages"].values()):
        assert torch.isfinite(tensor).all()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("unfreeze.training.prepare.make_loaders", ValueError),
        ("unfreeze.training.run.RunDir.create", OSError),
        ("unfreeze.training.run.Session.save_last", KeyboardInterrupt),
        ("unfreeze.training.loop.evaluate", KeyboardInterrupt),
    ],
)
def test_a_cache_in_ram_is_removed_whatever_goes_wrong(full, monkeypatch, place, error):
    def fail(*args, **kwargs):
        raise error("no")

    made = watch_caches(monkeypatch)
    monkeypatch.setattr(place, fail)
    with pytest.raises(error, match="no"):
        full("early_gradual", clip_cache="ram")
    assert len(made) == 1
    assert not made[0].folder.exists()


def test_heads_that_begin_from_class_means_take_no_room_in_the_cache(full, monkeypatch):
    made, before_training = watch_caches(monkeypatch), []
    monkeypatch.setattr(
        "unfreeze.training.run.fit", lambda session: before_training.append(made[0].stats().misses)
    )
    full("early_gradual", clip_cache="ram")
    assert before_training == [0]


def test_a_run_that_stopped_early_stays_so_until_it_may_wait_longer(full, console, tmp_path):
    folder = tmp_path / "run"
    # of no use to any metric, so that no epoch is better than the first
    flags = {"lr": 1e-12, "monitor": "val/balanced_accuracy", "head_init": "zeros", "clip_cache": "off"}
    assert len(full("early_gradual", early_stopping=1, run_dir=str(folder), **flags).rows) == 2
    files = {"best.pt", "last.pt", "classes.json", "metrics.jsonl", "config.yaml", "train.log"}
    assert files <= {file.name for file in folder.iterdir()}
    before = left_by(folder)
    again = full("early_gradual", early_stopping=1, resume=str(folder), **flags)
    assert len(again.rows) == 2
    assert not again.interrupted
    assert console.text.count("[STOP] Ending after epoch 2 of 4: val/balanced_accuracy has not improved") == 2
    assert same(left_by(folder), before)
    assert len(full("early_gradual", early_stopping=9, resume=str(folder), **flags).rows) == EPOCHS


def test_a_time_limit_counts_from_the_start_and_anew_when_resumed(full, console, tmp_path, monkeypatch):
    clock, folder = SimpleNamespace(now=0.0), str(tmp_path / "run")
    read, finish = run_module.read_data, Session.finish_epoch

    def slowly(*args):
        clock.now += 30  # as long as checking files takes
        return read(*args)

    def finish_after_10(self, *args, seconds, **kwargs):
        clock.now += 10
        finish(self, *args, seconds=10.0, **kwargs)

    monkeypatch.setattr(run_module, "read_data", slowly)
    monkeypatch.setattr(Session, "finish_epoch", finish_after_10)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    flags = {"time_limit": "50s", "clip_cache": "off"}
    stopped = full("adaptive", run_dir=folder, **flags)
    assert len(stopped.rows) == 2
    assert not stopped.interrupted
    reason = f"would pass --time_limit 50s; continue with --resume {folder}"
    pattern = rf"\[STOP\] Ending after epoch 2 of 4: another epoch, of about \S+ \w+, {re.escape(reason)}"
    assert re.search(pattern, console.text)
    assert len(full("adaptive", resume=folder, **flags).rows) == EPOCHS
    monkeypatch.undo()
    whole = str(tmp_path / "whole")
    full("adaptive", run_dir=whole, clip_cache="off")
    found, expected = left_by(Path(folder)), left_by(Path(whole))
    assert same(found["rows"], expected["rows"])
    assert same(found["last.pt"]["model"], expected["last.pt"]["model"])
