import itertools
import json
import math
import shutil

import pytest
import torch

from unfreeze.training.session import Session

EPOCHS = 4
TRANSITIONS = {
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


@pytest.mark.parametrize("strategy", TRANSITIONS)
def test_resumed_before_at_and_after_every_transition_is_the_uninterrupted_run(
    run, tmp_path, every_last, strategy
):
    flags = FLAGS[strategy] | {"epochs": EPOCHS, "strategy_flags": TRANSITIONS[strategy]}
    whole = run(strategy, **flags).run_dir
    expected = final(whole)
    trained = [tuple(record["trainable"]) for record in expected["training"]["freezer"]["history"]["records"]]
    if strategy not in ("head_only", "none"):
        assert all(before != after for before, after in itertools.pairwise(trained)) or trained[0] == ()
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


def test_the_transitions_that_are_resumed_do_happen(run):
    """Guards the test above: between any two epochs but the last, blocks thaw."""
    rows = dict.fromkeys(("early_gradual", "adaptive", "progressive", "fixed"))
    for name in rows:
        result = run(name, **FLAGS[name], epochs=EPOCHS, strategy_flags=TRANSITIONS[name])
        content = torch.load(result.run_dir / "last.pt", weights_only=True)
        records = content["training"]["freezer"]["history"]["records"]
        rows[name] = [len(record["trainable"]) for record in records]
    assert rows == {
        "early_gradual": [0, 1, 2, 2],
        "adaptive": [0, 0, 1, 2],
        "progressive": [0, 1, 2, 3],
        "fixed": [0, 2, 1, 9],
    }
