"""Every flag of data, balance and recipe reaches the run: with it, the first epoch is another one.

What a flag does is tested where it is done. Here it is that a run does it at all.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unfreeze.models import VideoClassifier
from unfreeze.training.checkpoint import load_checkpoint

BASIS = {"epochs": 1, "batch_size": 3, "clip_cache": "off"}
# flags, and which of the epoch's numbers they change: those of training, of validation, or both
TELLING: list[tuple[dict[str, Any], set[str]]] = [
    ({"mixup": 0.4}, {"train", "val"}),
    ({"cutmix": 1.0}, {"train", "val"}),
    *(({"augment": preset}, {"train", "val"}) for preset in ("none", "standard", "strong")),
    ({"flip": True}, {"train", "val"}),
    ({"flip": True, "flip_swap": {"motion": {"left": "right"}}}, {"train", "val"}),
    *(
        ({"balance": (method,)}, {"train", "val"})
        for method in ("weights", "effective_number", "sampler", "focal", "logit_adjustment")
    ),
    ({"balance": ("motion=weights", "tags=focal")}, {"train", "val"}),
    ({"balance": ("weights",), "balance_strength": "log"}, {"train", "val"}),
    ({"balance": ("weights",), "balance_cap": 1.01}, {"train", "val"}),
    ({"balance": ("focal",), "focal_gamma": 5.0}, {"train", "val"}),
    ({"balance": ("effective_number",), "balance_beta": 0.5}, {"train", "val"}),
    ({"balance": ("logit_adjustment",), "balance_tau": 0.5}, {"train", "val"}),
    ({"task_weights": ("motion=5",)}, {"train", "val"}),
    ({"views": "max"}, {"train", "val"}),
    ({"dropout": 0.5}, {"train", "val"}),
    *(({"head_init": how}, {"train", "val"}) for how in ("zeros", "class_means")),
    ({"ema": 0.99}, {"val"}),
    ({"frames": 6}, {"train", "val"}),
    ({"fps": 3.0}, {"train", "val"}),
    ({"stride": 2}, {"train", "val"}),
    ({"short": "wrap"}, {"train", "val"}),
    ({"eval_clips": 3, "fps": 8.0}, {"val"}),
    ({"eval_crops": "3"}, {"val"}),
]
# what a row of TELLING is compared with, where that is not the run without any flag
AGAINST: dict[str, dict[str, Any]] = {
    "flip_swap": {"flip": True},
    "balance_strength": {"balance": ("weights",)},
    "balance_cap": {"balance": ("weights",)},
    "focal_gamma": {"balance": ("focal",)},
    "balance_beta": {"balance": ("effective_number",)},
    "balance_tau": {"balance": ("logit_adjustment",)},
    "eval_clips": {"fps": 8.0},
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("unfreeze.training.run.plot_run", lambda *files: None)
    monkeypatch.setattr("unfreeze.training.run.plot_reports", lambda *files: None)


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """The rows of runs that several others are compared with."""
    return {}


@pytest.fixture
def first_epoch(run, events):
    def measure(**flags):
        return run(data=str(events), **(BASIS | flags)).rows[0]

    return measure


@pytest.mark.parametrize(("flags", "changed"), TELLING, ids=[str(flags) for flags, _ in TELLING])
def test_the_first_epoch_is_another_one(first_epoch, known, flags, changed):
    against = next((AGAINST[name] for name in flags if name in AGAINST), {})
    if str(against) not in known:
        known[str(against)] = first_epoch(**against)
    row = first_epoch(**flags)
    assert {part for part in ("train", "val") if row[part] != known[str(against)][part]} == changed


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_told_which_views_are_padding(first_epoch, monkeypatch, training):
    masks = []
    forward = VideoClassifier.forward

    def spy(self, x, view_mask=None):
        if self.training is training:
            masks.append(view_mask)
        assert x.ndim == 6
        padded = (x.flatten(2) == 0).all(dim=2)
        assert torch.equal(padded, torch.zeros_like(padded) if view_mask is None else ~view_mask.cpu())
        return forward(self, x, view_mask)

    monkeypatch.setattr(VideoClassifier, "forward", spy)
    first_epoch(cache="off", exact=True)
    assert any(mask is not None and not mask.all() for mask in masks)


def test_the_best_epoch_is_kept_as_it_was_averaged(run, events, tmp_path):
    """The averages are the best checkpoint's; what is frozen is the same in both."""
    run("head_only", data=str(events), **(BASIS | {"ema": 0.5, "run_dir": str(tmp_path / "run")}))
    best, last = (load_checkpoint(tmp_path / "run" / f"{name}.pt") for name in ("best", "last"))
    heads = [name for name in last["model"]["state"] if name.startswith("heads.")]
    averages = last["training"]["ema"]["averages"]
    for name, weights in last["model"]["state"].items():
        kept = best["model"]["state"][name]
        assert torch.equal(kept, averages[name] if name in heads else weights), name
    assert any(not torch.equal(averages[name], last["model"]["state"][name]) for name in heads)


def test_the_losses_on_record_weigh_the_tasks_of_the_next_epoch(run, events):
    """Automatic weights are those of the epochs on record; two are needed to compare the tasks' progress."""
    auto = run(data=str(events), **(BASIS | {"epochs": 3, "task_weights": ("auto",)})).rows
    alike = run(data=str(events), **(BASIS | {"epochs": 3})).rows
    assert [a["val"] == b["val"] for a, b in zip(auto, alike, strict=True)] == [True, True, False]
