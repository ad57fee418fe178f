"""The range test on a real model and tiny clips: what trains, at which rates, and that no file is left."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from unfreeze import strategies
from unfreeze.freezer import Freezer
from unfreeze.training import lr_finder
from unfreeze.training.config import TrainConfig
from unfreeze.training.lr_finder import Found, RateTrial, find_lr, go_to
from unfreeze.training.range_test import Curve


@pytest.fixture
def find(clips, tmp_path, console, monkeypatch) -> Callable[..., Found]:
    """Tests r3d_micro from scratch on the tiny clips; keyword arguments are flags."""
    monkeypatch.chdir(tmp_path)

    def start(strategy: str = "early_gradual", *, epoch: int = 1, steps: int = 10, **flags: Any) -> Found:
        basis = {"data": str(clips), "weights": "none", "batch_size": 4, "workers": 0, "clip_cache": "off"}
        config = TrainConfig(**(basis | flags))
        made = strategies.get(strategy)()
        return find_lr(config, made, console, low=1e-4, high=1e-1, steps=steps, epoch=epoch)

    return start


@pytest.fixture
def trials(monkeypatch) -> list[RateTrial]:
    """The trials that are made, for a look inside."""
    made: list[RateTrial] = []

    class Watched(RateTrial):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)
            self.before = {n: p.detach().clone() for n, p in self.stepper.made.model.named_parameters()}
            self.rates: list[list[float]] = []

        def step(self, rate: float) -> float:
            loss = super().step(rate)
            self.rates.append([group["lr"] for group in self.stepper.made.optimizer.param_groups])
            return loss

    monkeypatch.setattr(lr_finder, "RateTrial", Watched)
    return made


def moved(trial: Any) -> set[str]:
    now = trial.stepper.made.model.named_parameters()
    return {
        n.removeprefix("backbone.").split(".conv")[0] for n, p in now if not torch.equal(p, trial.before[n])
    }


def test_only_what_the_epoch_thaws_trains(find, trials, tmp_path) -> None:
    found = find(epoch=1)
    assert found.trainable == ()
    assert all(name.startswith("heads.") for name in moved(trials[0]))
    later = find(epoch=5)
    assert later.trainable
    assert {name.split(".")[0] for name in moved(trials[1])} == {
        "heads",
        *(block.split(".")[0] for block in later.trainable),
    }
    assert list(tmp_path.iterdir()) == []  # neither a run folder nor anything else


def test_every_group_keeps_its_multiple(find, trials) -> None:
    find("none", head_lr=1e-2, backbone_lr=2e-3, layer_decay=0.5, scheduler="onecycle", warmup_epochs=1.0)
    rates = torch.tensor(trials[0].rates)
    heads, last = rates[:, -1], rates[:, -3]
    torch.testing.assert_close(heads, torch.logspace(-4, -1, 10))
    torch.testing.assert_close(last, heads * 0.2)
    torch.testing.assert_close(rates[:, -4], last * 0.5)


def test_same_seed_same_curve(find) -> None:
    first, again, other = find(), find(), find(seed=1)
    assert first == again
    assert first.curve.losses != other.curve.losses
    assert all(math.isfinite(loss) for loss in first.curve.losses)


@pytest.mark.parametrize(
    "flags",
    [
        {"cache_refresh": 0.0},
        {"cache": "disk", "cache_dir": "kept"},
        {"compile": True},
        {"cache_dtype": "bf16"},
    ],
    ids=str,
)
def test_flags_of_the_prefix_cache_say_nothing_here_and_do_no_harm(find, flags) -> None:
    """Too short to be worth it: the flags of the run to come are taken, and nothing is kept."""
    assert find(steps=3, **flags) == find(steps=3)


def test_it_learns_with_every_remedy(find) -> None:
    found = find(
        "none",
        balance=("weights+focal",),
        mixup=0.2,
        head_init="class_means",
        accumulate=2,
        clip_grad_norm=1.0,
        task_weights=("motion=2",),
        views="attention",
    )
    assert len(found.curve.losses) == 10


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"strategy": "adaptive", "epoch": 3},
            "--epoch 3: what adaptive trains by then depends on the metrics",
        ),
        ({"epoch": 13}, "--epoch 13: the run has 12 epochs; see --epochs"),
        ({"model": "r3d"}, "no model is called 'r3d'"),
    ],
)
def test_what_cannot_be_tested(find, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find(**flags)


def test_a_loss_that_is_no_number_from_the_start(find, monkeypatch) -> None:
    monkeypatch.setattr(RateTrial, "step", lambda self, rate: math.nan)
    with pytest.raises(ValueError, match="the loss is not finite before the first step"):
        find()


def test_rates_that_do_not_grow(console) -> None:
    with pytest.raises(ValueError, match=r"--lr_min 0\.1 must be below --lr_max 0\.01"):
        find_lr(TrainConfig(), strategies.get("none")(), console, low=0.1, high=0.01, steps=10)


def test_going_to_an_epoch_is_what_a_run_does() -> None:
    model = torch.nn.Module()
    model.blocks = torch.nn.ModuleList(
        torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()) for _ in range(4)
    )
    model.heads = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2)})
    strategy = strategies.get("fixed")(
        phases=[{"epochs": 2, "blocks": "none"}, {"epochs": 2, "blocks": "last 2"}]
    )
    assert go_to(Freezer(model, strategy), 2) == ()
    assert go_to(Freezer(model, strategy), 3) == ("blocks.2", "blocks.3")


@pytest.mark.parametrize(
    ("ratio", "trainable", "rate", "flags"),
    [
        (1.0, ("stem",), 1.26e-3, "--lr 0.0013"),
        (0.1, ("stem",), 1.26e-3, "--head_lr 0.0013 --backbone_lr 0.00013"),
        (0.1, (), 1.26e-3, "--head_lr 0.0013"),
        (1.0, (), 1.26e-5, "--head_lr 1.3e-05"),
        (1.0, ("stem",), None, None),
    ],
)
def test_the_suggestion_as_flags(
    ratio: float, trainable: tuple[str, ...], rate: float | None, flags: str | None
) -> None:
    found = Found(Curve((), (), (), False), ratio, trainable, 1, rate)
    assert found.flags == flags
