"""Stop anywhere, resume, and the rest of the run is the same, bit for bit."""

from __future__ import annotations

import io
import json

import pytest
import torch
from torch.optim import lr_scheduler

from unfreeze import Adaptive, EarlyGradual, History
from unfreeze.freezer import Freezer

PLAN = ((), ("layers.1",), ("layers.0", "layers.1"), ("layers.1",), ("stem", "layers.1"))


def start(net, anatomy, strategy, filtered):
    torch.manual_seed(0)
    model = net()
    freezer = Freezer(model, strategy, anatomy, warmup_steps=3, thaw_warmup_steps=3)
    freezer.start_epoch()
    groups = [p for p in model.parameters() if p.requires_grad] if filtered else freezer.param_groups(lr=0.01)
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.05, 2 * len(PLAN))
    freezer.attach(optimizer, scheduler)
    return model, freezer, optimizer, scheduler


def save(*objects):
    file = io.BytesIO()
    torch.save([each.state_dict() for each in objects], file)
    file.seek(0)
    return file


def epochs(train, model, freezer, optimizer, scheduler, until):
    while freezer.history.next_epoch <= until:
        freezer.start_epoch()
        torch.manual_seed(freezer.history.next_epoch)
        train(model, optimizer, 2, scheduler, seed=freezer.history.next_epoch)
        freezer.end_epoch(accuracy=0.5)


@pytest.mark.parametrize("filtered", [False, True], ids=["param_groups", "filter"])
@pytest.mark.parametrize("stop", range(len(PLAN)))
@pytest.mark.parametrize("midway", [False, True], ids=["between", "after_start"])
def test_the_rest_of_the_run_is_the_same(net, anatomy, table, train, bits, same, filtered, stop, midway):
    whole = start(net, anatomy, table(*PLAN), filtered)
    epochs(train, *whole, len(PLAN))

    stopped = start(net, anatomy, table(*PLAN), filtered)
    epochs(train, *stopped, stop)
    if midway:
        stopped[1].start_epoch()
    file = save(*stopped)

    model, freezer, optimizer, scheduler = start(net, anatomy, table(*PLAN), filtered)
    states = torch.load(file, weights_only=True)
    for each, state in zip(
        (freezer, model, optimizer, scheduler), (states[1], states[0], *states[2:]), strict=True
    ):
        each.load_state_dict(state)
    assert freezer.history == stopped[1].history
    assert freezer.status() == stopped[1].status()
    assert stop == 0 or freezer.transition == stopped[1].transition
    epochs(train, model, freezer, optimizer, scheduler, len(PLAN))
    assert same(bits(model), bits(whole[0]))
    assert freezer.state_dict() == whole[1].state_dict()
    assert [g["lr"] for g in optimizer.param_groups] == [g["lr"] for g in whole[2].param_groups]


def test_state_is_plain_data_and_stays_what_it_is(net, anatomy, table, train):
    run = start(net, anatomy, table(*PLAN), filtered=True)
    epochs(train, *run, 3)
    state = run[1].state_dict()
    copy = json.loads(json.dumps(state))
    epochs(train, *run, 4)
    assert json.loads(json.dumps(state)) == copy
    assert state["added"] == [
        [f"layers.1.{key}" for key in ("conv.weight", "conv.bias", "norm.weight", "norm.bias")],
        [f"layers.0.{key}" for key in ("conv.weight", "conv.bias", "norm.weight", "norm.bias")],
    ]
    fresh = start(net, anatomy, table(*PLAN), filtered=True)[1]
    fresh.load_state_dict(copy)
    assert fresh.state_dict() == state


def test_loading_before_attaching_is_the_same(net, anatomy, table, train):
    run = start(net, anatomy, table(*PLAN), filtered=True)
    epochs(train, *run, 3)
    model = net()
    freezer = Freezer(model, table(*PLAN), anatomy)
    freezer.load_state_dict(run[1].state_dict())
    optimizer = torch.optim.AdamW(model.heads.parameters(), lr=0.01)
    freezer.attach(optimizer, lr_scheduler.OneCycleLR(optimizer, 0.05, 10))
    optimizer.load_state_dict(run[2].state_dict())
    assert len(optimizer.param_groups) == 3
    assert freezer.state_dict()["added"] == run[1].state_dict()["added"]


def test_a_resumed_run_is_not_frozen_again(net, anatomy, train):
    run = start(net, anatomy, EarlyGradual(target_ratio=1.0), filtered=False)
    epochs(train, *run, 3)
    model = net()
    freezer = Freezer(model, EarlyGradual(target_ratio=1.0), anatomy)
    freezer.load_state_dict(run[1].state_dict())
    assert model.layers[0].conv.weight.requires_grad
    assert model.layers[0].train().training
    assert freezer.start_epoch().thawed == ("stem",)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Adaptive(), "strategy 'early_gradual', this run has 'adaptive'"),
        (EarlyGradual(freeze_epochs=2), "with freeze_epochs = 1, this run has 2"),
    ],
)
def test_another_strategy_is_an_error(net, anatomy, other, message):
    state = Freezer(net(), EarlyGradual(), anatomy).state_dict()
    with pytest.raises(ValueError, match=message):
        Freezer(net(), other, anatomy).load_state_dict(state)


def test_other_blocks_another_metric_or_another_run_are_errors(net, anatomy, train):
    model, freezer, *_ = run = start(net, anatomy, EarlyGradual(), filtered=False)
    epochs(train, *run, 3)
    state = freezer.state_dict()
    with pytest.raises(ValueError, match=r"other blocks: stem \(7 -> 6\)"):
        freezer.load_state_dict({**state, "blocks": {**state["blocks"], "stem": 7}})
    with pytest.raises(ValueError, match="monitor = None, this run has 'loss'"):
        Freezer(model, EarlyGradual(), anatomy, monitor="loss").load_state_dict(state)
    history = History.from_dict(state["history"]).to_dict()
    history["records"][1]["trainable"] = ("stem",)
    with pytest.raises(ValueError, match=r"epoch 2 trained stem, but .* now decides on layers.1, pool"):
        freezer.load_state_dict({**state, "history": history})
