"""Runs with everything on at once: what each flag promises by itself holds in company, too."""

import json
import shutil

import pytest
import torch

from unfreeze.training.session import Session

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
        basis = EVERYTHING | {"data": str(events), "strategy_flags": STRATEGIES[strategy]}
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
        for flag in ("output", "clip_cache", "workers", "decoder", "check", "early_stopping"):
            del content["config"][flag]
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
