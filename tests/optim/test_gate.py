"""Inside of optimizer.step only: frozen parameters absent, learning rates scaled; outside nothing differs."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from unfreeze.optim import StepGate


def parameters(count):
    made = [nn.Parameter(torch.ones(2)) for _ in range(count)]
    for parameter in made:
        parameter.grad = torch.ones(2)
    return made


class Failing(torch.optim.SGD):
    """Raises in its step after looking at its groups."""

    failing = True

    def step(self, closure=None):
        self.seen = [(len(group["params"]), group["lr"]) for group in self.param_groups]
        if self.failing:
            raise KeyboardInterrupt
        return super().step(closure)


def test_frozen_parameters_are_absent_and_rates_are_scaled():
    frozen, slow, fast, foreign = parameters(4)
    optimizer = torch.optim.SGD([frozen, slow, fast, foreign], lr=0.1, weight_decay=0.5)
    gate = StepGate(optimizer)
    gate.frozen, gate.scales, gate.default_scale = {id(frozen)}, {id(slow): 0.5, id(fast): 1.0}, 0.25
    groups, members = optimizer.param_groups, optimizer.param_groups[0]["params"]
    optimizer.step()
    assert [p[0].item() for p in (frozen, slow, fast, foreign)] == pytest.approx([1, 0.925, 0.85, 0.9625])
    assert optimizer.param_groups is groups
    assert optimizer.param_groups[0]["params"] is members
    assert len(groups) == 1
    gate.remove()
    optimizer.step()
    assert frozen[0].item() == pytest.approx(0.85)


def test_a_step_spends_no_time_on_frozen_groups_but_keeps_the_first():
    """Some optimizers keep in the first group what all groups share."""
    made = parameters(4)
    optimizer = Failing([{"params": [p]} for p in made], lr=0.1)
    optimizer.failing = False
    gate = StepGate(optimizer)
    gate.frozen = {id(p) for p in made[:3]}
    optimizer.step()
    assert optimizer.seen == [(0, 0.1), (1, 0.1)]
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1, 1, 1]


def test_a_group_may_be_frozen_as_a_whole():
    for cls in (torch.optim.Adam, torch.optim.SGD, torch.optim.Adafactor, torch.optim.Adagrad):
        one, other = parameters(2)
        optimizer = cls([{"params": [one]}, {"params": [other]}], lr=0.1)
        StepGate(optimizer).frozen = {id(one)}
        optimizer.step()
        assert torch.equal(one, torch.ones(2))
        assert not torch.equal(other, torch.ones(2))


def test_a_learning_rate_tensor_stays_the_same_object():
    (parameter,) = parameters(1)
    lr = torch.tensor(0.1)
    optimizer = torch.optim.SGD([parameter], lr=lr)
    StepGate(optimizer).default_scale = 0.5
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(0.1)
    assert parameter[0].item() == pytest.approx(0.95)


@pytest.mark.parametrize("scheduled", [None, "before", "after"])
def test_a_step_that_raises_leaves_nothing_behind(scheduled):
    frozen, free, other = parameters(3)
    optimizer = Failing([frozen, free, other], lr=0.1)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5) if scheduled == "before" else None
    gate = StepGate(optimizer)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5) if scheduled == "after" else scheduler
    gate.frozen, gate.scales = {id(frozen)}, {id(free): 0.5}
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert optimizer.seen == [(1, 0.05), (1, 0.1)]
    assert [(len(g["params"]), g["lr"]) for g in optimizer.param_groups] == [(3, 0.1)]
    if scheduler is not None:
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == 0.05
    optimizer.failing = False
    optimizer.step()
    assert frozen[0] == 1


def test_a_checkpoint_from_within_a_step_is_whole():
    frozen, free = parameters(2)
    optimizer = torch.optim.SGD([frozen, free], lr=0.1)
    StepGate(optimizer).frozen = {id(frozen)}
    states = []
    optimizer.step(lambda: states.append(optimizer.state_dict()) or torch.tensor(0.0))
    assert len(states[0]["param_groups"][0]["params"]) == 2
    # and the step went on behind the gate
    assert frozen[0] == 1
    assert free[0].item() == pytest.approx(0.9)
    assert len(optimizer.param_groups[0]["params"]) == 2


def test_what_an_optimizer_keeps_in_its_groups_is_kept():
    class Counting(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                group["count"] = group.get("count", 0) + 1

    slow, fast = parameters(2)
    optimizer = Counting([slow, fast], lr=0.1)
    StepGate(optimizer).scales = {id(slow): 0.5}
    optimizer.step()
    optimizer.step()
    assert optimizer.param_groups[0]["count"] == 2


def test_hooks_are_told_whether_gradients_are_there():
    (parameter,) = parameters(1)
    gate = StepGate(torch.optim.SGD([parameter], lr=0.1))
    told = []
    gate.before = lambda there: told.append(("before", there))
    gate.after = lambda there: told.append(("after", there))
    gate.optimizer.step()
    gate.optimizer.step(lambda: torch.tensor(1.0))
    gate.optimizer.step(closure=lambda: torch.tensor(1.0))
    assert told == [(when, there) for there in (True, False, False) for when in ("before", "after")]


def test_a_gated_optimizer_pickles():
    (parameter,) = parameters(1)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    StepGate(optimizer)
    assert pickle.loads(pickle.dumps(optimizer)).param_groups[0]["lr"] == 0.1
