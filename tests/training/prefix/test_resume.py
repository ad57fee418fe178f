"""A run that goes on has the numbers of one that was never stopped, whatever has become of its cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from unfreeze.training.checkpoint import load_checkpoint
from unfreeze.training.prefix.engine import PrefixEngine

EPOCHS = 4
FLAGS = {
    "epochs": EPOCHS,
    "batch_size": 2,
    "cache_refresh": 0.4,
    "mixup": 0.4,
    "weights": "default",
    "ema": 0.9,
}
STRATEGIES = {
    "early_gradual": {},
    "adaptive": {"patience": 1, "min_improvement": 1.0},
    "fixed": {
        "phases": [
            {"epochs": 1, "blocks": "last 3"},
            {"epochs": 1, "blocks": "none"},
            {"epochs": 2, "blocks": "last 2"},
        ]
    },
}


class StopError(Exception):
    """In place of a power failure: nothing is closed in order."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("unfreeze.training.run.plot_run", lambda *files: None)
    monkeypatch.setattr("unfreeze.training.run.plot_reports", lambda *files: None)


def shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 200)


def deleted(folder: Path) -> None:
    shutil.rmtree(folder)


def halved(folder: Path) -> None:
    for path in shards(folder)[::2]:
        path.unlink()


def damaged(folder: Path) -> None:
    for path in shards(folder):
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(b"\xff" * 16)


def untouched(folder: Path) -> None:
    pass


@pytest.mark.parametrize("what", [untouched, halved, damaged, deleted], ids=lambda what: what.__name__)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_goes_on_with_the_same_numbers(run, events, tmp_path, monkeypatch, strategy, what):
    basis = FLAGS | {"data": str(events), "strategy_flags": STRATEGIES[strategy], "cache": "disk"}
    through = run(strategy, **basis, cache_dir=str(tmp_path / "a"), run_dir=str(tmp_path / "through"))

    stopped = 2 if strategy == "early_gradual" else 3
    start_epoch = PrefixEngine.start_epoch

    def fails(self, transition):
        if transition.epoch > stopped:
            raise StopError
        return start_epoch(self, transition)

    with monkeypatch.context() as patch:
        patch.setattr(PrefixEngine, "start_epoch", fails)
        with pytest.raises(StopError):
            run(strategy, **basis, cache_dir=str(tmp_path / "b"), run_dir=str(tmp_path / "stopped"))
    what(tmp_path / "b")
    resumed = run(strategy, **basis, cache_dir=str(tmp_path / "b"), resume=str(tmp_path / "stopped"))

    assert len(resumed.rows) == EPOCHS
    for row, other in zip(through.rows, resumed.rows, strict=True):
        assert (row["train"], row["val"]) == (other["train"], other["val"])
    one, other = (
        load_checkpoint(folder / "last.pt")["model"]["state"] for folder in (through.run_dir, resumed.run_dir)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_was_decided_holds_when_it_goes_on(run, tmp_path, console):
    """Whether clips are kept decides how often they are drawn anew, so it stays as it was at first."""

    def decided(folder):
        return load_checkpoint(folder / "last.pt")["training"]["prefix"]["training"]

    basis = {"scheduler": "constant", "weights": "none"}
    for refresh in (1.0, 0.5):
        folder = run(epochs=1, cache="ram", cache_refresh=refresh, **basis).run_dir
        assert decided(folder) is (refresh < 1)
        run(epochs=3, cache="ram", resume=str(folder), cache_refresh=refresh, **basis)
        assert decided(folder) is (refresh < 1)
    run(epochs=5, cache_gb=1e-9, resume=str(folder), **basis)  # no room any more
    assert decided(folder) is True


@pytest.mark.parametrize(("was", "now"), [("off", "ram"), ("ram", "off")])
def test_a_run_with_a_cache_does_not_go_on_without_one(run, was, now):
    first = run(epochs=1, cache=was, scheduler="constant")
    with pytest.raises(ValueError, match=f"--cache {now} \\(was {was}\\)"):
        run(epochs=2, cache=now, scheduler="constant", resume=str(first.run_dir))


def test_a_cache_may_move(run):
    first = run(epochs=1, cache="ram", scheduler="constant")
    assert len(run(epochs=2, cache="disk", scheduler="constant", resume=str(first.run_dir)).rows) == 2


def test_a_later_run_starts_warm(run, tmp_path, console):
    """Also one of another strategy: what is kept depends on the frozen blocks alone."""
    basis = {"epochs": 3, "cache": "disk", "cache_dir": str(tmp_path / "cache"), "cache_refresh": 0.0}
    run("head_only", **basis)
    console.text = ""
    run("head_only", optimizer="sgd", **basis)
    assert "27 of 27 clips came from it" in console.text
