"""The epochs: decisions made true, once each, and the numbers that describe them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unfreeze import Adaptive, EarlyGradual, NoFreezing
from unfreeze.anatomy import Anatomy
from unfreeze.freezer import Freezer


def trainable(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_a_run_of_early_gradual(net, anatomy):
    model = net()
    freezer = Freezer(model, EarlyGradual(target_ratio=1.0), anatomy)
    seen = []
    for _ in range(5):
        transition = freezer.start_epoch()
        seen.append((transition.epoch, transition.thawed, transition.frozen, transition.previous))
        freezer.end_epoch(accuracy=0.5)
    assert seen == [
        (1, (), (), None),
        (2, ("layers.1", "pool"), (), ()),
        (3, ("layers.0",), (), ("layers.1", "pool")),
        (4, ("stem",), (), ("layers.0", "layers.1", "pool")),
        (5, (), (), ("stem", "layers.0", "layers.1", "pool")),
    ]
    assert trainable(model) == {name for name, _ in model.named_parameters()}
    assert transition.sizes == {"stem": 6, "layers.0": 10, "layers.1": 10, "pool": 0}


def test_parameters_of_the_root_obey(net, anatomy, table):
    model = net()
    Freezer(model, table(("layers.0",)), anatomy).start_epoch()
    assert not model.position.requires_grad
    Freezer(model, table(("stem",)), anatomy).start_epoch()
    assert model.position.requires_grad


@pytest.mark.parametrize("frozen_before", [False, True])
def test_what_the_model_was_before_does_not_matter(net, anatomy, table, frozen_before):
    model = net().requires_grad_(not frozen_before)
    Freezer(model, table(("layers.1",)), anatomy).start_epoch()
    assert trainable(model) == {n for n, _ in model.named_parameters() if n.startswith(("layers.1", "heads"))}


def test_starting_an_epoch_twice_changes_nothing(net, anatomy, table):
    freezer = Freezer(net(), table((), ("layers.1",), ("layers.0",)), anatomy)
    first = freezer.start_epoch()
    assert freezer.start_epoch() is first
    freezer.end_epoch(accuracy=0.1)
    second = freezer.start_epoch()
    assert freezer.start_epoch() is second
    assert second.epoch == 2


def test_an_epoch_that_is_never_ended_is_noticed(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table(("layers.1",)), anatomy)
    optimizer = torch.optim.SGD(freezer.param_groups(lr=0.1))
    freezer.attach(optimizer)
    for _ in range(2):
        freezer.start_epoch()
        freezer.start_epoch()
        train(model, optimizer)
        freezer.end_epoch()
    freezer.start_epoch()
    train(model, optimizer)
    with pytest.warns(RuntimeWarning, match=r"epoch 3 has not ended.*: call end_epoch\(\)"):
        freezer.start_epoch()
    freezer.load_state_dict(freezer.state_dict())
    freezer.start_epoch()  # resumed in the middle of an epoch


def test_ending_an_epoch_twice_amends(net, anatomy, table):
    freezer = Freezer(net(), table((), ("layers.1",)), anatomy)
    freezer.start_epoch()
    freezer.end_epoch(accuracy=0.1)
    freezer.end_epoch(accuracy=torch.tensor(0.2), loss=1)
    (record,) = freezer.history.records
    assert record.metrics == {"accuracy": pytest.approx(0.2), "loss": 1.0}
    freezer.start_epoch()
    freezer.end_epoch(accuracy=0.3, signals={"grad_norm": {"layers.1": 1.0}})
    assert [r.trainable for r in freezer.history.records] == [(), ("layers.1",)]
    assert freezer.history.records[1].signals == {"grad_norm": {"layers.1": 1.0}}


def test_adaptive_thaws_on_a_plateau(net, anatomy):
    freezer = Freezer(net(), Adaptive(patience=1), anatomy, monitor="accuracy")
    thawed = []
    for accuracy in (0.5, 0.5, 0.5):
        thawed.append(freezer.start_epoch().thawed)
        freezer.end_epoch(accuracy=accuracy, loss=1.0)
    assert freezer.start_epoch().thawed
    assert thawed[0] == ()


def test_the_numbers_fit_together(net, anatomy, table):
    model = net()
    freezer = Freezer(model, table((), ("layers.1", "pool"), ("stem",)), anatomy)
    for _ in range(3):
        freezer.start_epoch()
        status = freezer.status()
        assert status.total == status.backbone_total + status.heads_total == status.trainable + status.frozen
        assert status.total == sum(p.numel() for p in model.parameters())
        assert status.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert status.trainable == status.backbone_trainable + status.heads_trainable
        freezer.end_epoch()
    assert status.backbone_trainable == 6
    assert status.heads_trainable == status.heads_total == 15
    assert status.blocks == {"stem": True, "layers.0": False, "layers.1": False, "pool": False}


def test_tied_parameters_are_counted_and_frozen_once(part, table):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
            self.b.weight = self.a.weight

    model = Tied()
    b = part(model, "b", "b")
    anatomy = Anatomy(
        (part(model, "head", "head"),),
        (part(model, "a", "a"), type(b)("b", ("b.bias",), (), b.modules)),
    )
    freezer = Freezer(model, table(("b",)), anatomy)
    freezer.start_epoch()
    assert not model.b.weight.requires_grad
    assert model.b.bias.requires_grad
    assert freezer.status().total == sum(p.numel() for p in model.parameters()) == 14
    members = [p for group in freezer.param_groups() for p in group["params"]]
    assert len(members) == len({id(p) for p in members}) == 5


def test_integer_parameters_are_left_alone(net, anatomy, table):
    model = net()
    model.layers[0].conv.weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)
    freezer = Freezer(model, table(("layers.0",)), anatomy)
    freezer.start_epoch()
    assert not model.layers[0].conv.weight.requires_grad
    assert model.layers[0].conv.bias.requires_grad


def test_gradients_of_frozen_parameters_are_dropped(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table(("layers.1",), ()), anatomy)
    freezer.start_epoch()
    train(model, torch.optim.SGD(freezer.param_groups(), lr=0.1))
    freezer.end_epoch()
    freezer.start_epoch()
    assert all(p.grad is None for p in model.layers.parameters())
    assert all(p.grad is not None for p in model.heads.parameters())


def test_everything_can_train_from_the_start(net, anatomy):
    model = net()
    freezer = Freezer(model, NoFreezing(), anatomy)
    assert freezer.start_epoch().thawed == ("stem", "layers.0", "layers.1", "pool")
    freezer.end_epoch()
    assert freezer.start_epoch().thawed == ()


def test_mistakes_are_named(net, anatomy, table):
    model = net()
    with pytest.raises(TypeError, match="an instance"):
        Freezer(model, EarlyGradual, anatomy)
    with pytest.raises(RuntimeError, match="start_epoch"):
        Freezer(model, table(()), anatomy).end_epoch()
    with pytest.raises(ValueError, match=r"'layers.2'.*did you mean 'layers"):
        Freezer(model, table(("layers.2",)), anatomy).start_epoch()
    with pytest.raises(ValueError, match="scales the rate of 'stem' by -1"):
        Freezer(model, table(("stem",), lr_scale=-1.0), anatomy).start_epoch()
    with pytest.raises(ValueError, match="at least 0"):
        Freezer(model, table(()), anatomy, thaw_warmup_steps=-1)
    freezer = Freezer(model, table(()), anatomy)
    freezer.start_epoch()
    with pytest.raises(ValueError, match="metric 'accuracy' must be a number"):
        freezer.end_epoch(accuracy=None)


def test_a_changed_model_is_noticed(net, anatomy, table):
    model = net()
    freezer = Freezer(model, table(()), anatomy)
    model.extra = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"extra.weight, extra.bias is in no block"):
        freezer.start_epoch()
    del model.extra, model.position
    with pytest.raises(ValueError, match="no longer has position of 'stem'"):
        freezer.start_epoch()


def test_without_an_anatomy_the_model_is_dissected():
    model = nn.Sequential()
    model.add_module("body", nn.Sequential(*[nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(3)]))
    model.add_module("head", nn.Linear(2, 2))
    freezer = Freezer(model, EarlyGradual(freeze_epochs=0))
    freezer.start_epoch()
    assert model.head.weight.requires_grad
    assert freezer.status().backbone_trainable in (6, 12)
