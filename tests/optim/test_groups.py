"""Adding to a running optimizer: the new group is a twin of an old one, under every scheduler, for good."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from unfreeze.optim import add_group, build_optimizer, build_scheduler


def named(*names):
    return [(name, nn.Parameter(torch.ones(2))) for name in names]


def test_a_tensor_rate_is_not_shared():
    optimizer = torch.optim.SGD([{"params": named("a")[0][1], "lr": torch.tensor(0.1)}], lr=torch.tensor(0.1))
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    add_group(optimizer, scheduler, named("b"), name="block")
    first, second = optimizer.param_groups
    assert first["lr"] is not second["lr"]
    assert scheduler.base_lrs[0] is not scheduler.base_lrs[1]
    optimizer.step()
    scheduler.step()
    assert first["lr"].item() == second["lr"].item() == pytest.approx(0.05)


def test_the_twin_of_a_given_group():
    optimizer = torch.optim.SGD(
        [{"params": named("a")[0][1], "lr": 0.1}, {"params": named("b")[0][1], "lr": 0.2, "momentum": 0.5}],
        lr=1.0,
    )
    scheduler = build_scheduler(
        "plateau", optimizer, epochs=9, steps_per_epoch=1, patience=0, min_lr=[0.01, 0.15]
    )
    scheduler.step_epoch(1.0)
    scheduler.step_epoch(1.0)
    add_group(optimizer, scheduler, named("c"), like=1, name="block")
    twin, new = optimizer.param_groups[1:]
    assert {k: v for k, v in new.items() if k not in ("params", "name")} == {
        k: v for k, v in twin.items() if k != "params"
    }
    assert new["lr"] == 0.15
    assert scheduler.scheduler.min_lrs == [0.01, 0.15, 0.15]


def test_names_of_parameters_are_carried_on():
    optimizer = torch.optim.SGD(named("a"), lr=0.1)
    add_group(optimizer, None, named("b", "c"), name="block")
    assert optimizer.param_groups[1]["param_names"] == ["b", "c"]


def test_adagrad_state_is_made_at_once():
    optimizer = torch.optim.Adagrad([named("a")[0][1]], lr=0.1, initial_accumulator_value=0.5)
    ((_, new),) = given = named("b")
    add_group(optimizer, None, given, name="block")
    assert torch.equal(optimizer.state[new]["sum"], torch.full((2,), 0.5))


def test_muon_sends_each_parameter_its_way():
    optimizer = build_optimizer("muon", [nn.Parameter(torch.ones(2))], lr=0.1)
    scheduler = build_scheduler("cosine", optimizer, epochs=4, steps_per_epoch=1)
    matrix, vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    add_group(optimizer, scheduler, [("x.weight", matrix), ("x.bias", vector)], name="x")
    assert [group["algorithm"] for group in optimizer.param_groups] == ["adamw", "muon", "adamw"]
    assert len(scheduler.scheduler.base_lrs) == 3
    matrix.grad = torch.eye(2)
    optimizer.step()
    scheduler.step_epoch(1.0)
    assert not torch.equal(matrix, torch.ones(2, 2))


def test_lists_that_do_not_match_are_named():
    optimizer = torch.optim.SGD([named("a")[0][1]], lr=0.1)
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    optimizer.add_param_group({"params": [named("b")[0][1]]})
    with pytest.raises(ValueError, match=r"StepLR.base_lrs has 1 entries for 2 parameter groups"):
        add_group(optimizer, scheduler, named("c"), name="block")


def test_two_schedulers_of_one_optimizer():
    optimizer = torch.optim.SGD([named("a")[0][1]], lr=0.1)
    pair = [lr_scheduler.StepLR(optimizer, 1), torch.optim.swa_utils.SWALR(optimizer, 0.01)]
    add_group(optimizer, pair, named("b"), name="block")
    assert [len(one.base_lrs) for one in pair] == [2, 2]
