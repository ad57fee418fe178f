"""What the optimizer does to frozen, thawed and undisturbed parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.checkpoint import checkpoint

from unfreeze.anatomy import Anatomy
from unfreeze.freezer import Freezer


def rate_of(optimizer, parameter):
    return next(float(g["lr"]) for g in optimizer.param_groups if any(p is parameter for p in g["params"]))


# --- frozen bits stay ---


@pytest.mark.parametrize(
    "make",
    [
        lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.5),
        lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.5),
        lambda groups: torch.optim.Adagrad(groups, lr=0.1, weight_decay=0.5),
    ],
    ids=["sgd", "adamw", "adagrad"],
)
def test_a_stale_gradient_moves_nothing(net, anatomy, table, train, bits, same, make):
    model = net()
    freezer = Freezer(model, table(("layers.0", "layers.1"), ("layers.1",)), anatomy)
    freezer.start_epoch()
    optimizer = make(freezer.param_groups())
    freezer.attach(optimizer)
    train(model, optimizer, 3)
    freezer.end_epoch()
    freezer.start_epoch()
    before = bits(model, "layers.0", "stem", "position")
    for parameter in model.layers[0].parameters():
        parameter.grad = torch.ones_like(parameter)  # whoever leaves one behind
    train(model, optimizer, 3, set_to_none=False)
    assert same(before, bits(model, "layers.0", "stem", "position"))


def test_muon_cannot_fill_and_decay(part, table):
    model = nn.Sequential(
        nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    )
    anatomy = Anatomy((part(model, "head", "2"),), (part(model, "a", "0"), part(model, "b", "1")))
    freezer = Freezer(model, table(("b",)), anatomy)
    freezer.start_epoch()
    optimizer = torch.optim.Muon(freezer.param_groups(), lr=0.1, weight_decay=0.5)
    freezer.attach(optimizer)
    model[0].weight.grad = torch.zeros(2, 2)
    before = [layer.weight.detach().clone() for layer in model]
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert [torch.equal(b, layer.weight) for b, layer in zip(before, model, strict=True)] == [
        True,
        False,
        False,
    ]


def test_groups_and_moments_look_untouched_outside_of_the_step(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table((), ("layers.1",)), anatomy, thaw_warmup_steps=4)
    optimizer = torch.optim.AdamW(freezer.param_groups(lr=0.1))
    freezer.attach(optimizer)
    shape = [(group["name"], group["lr"], len(group["params"])) for group in optimizer.param_groups]
    for _ in range(2):
        freezer.start_epoch()
        train(model, optimizer, 2)
        freezer.end_epoch()
        assert [(g["name"], g["lr"], len(g["params"])) for g in optimizer.param_groups] == shape
    steps = {n: int(optimizer.state[p]["step"]) for n, p in model.named_parameters() if p in optimizer.state}
    assert steps.pop("heads.verb.weight") == 4
    assert steps["layers.1.conv.weight"] == 2
    assert not any(name.startswith(("stem", "position", "layers.0")) for name in steps)


def test_two_biases_of_equal_value_both_train(net, anatomy, table, train):
    model = net()
    for layer in model.layers:
        nn.init.zeros_(layer.norm.bias)
    freezer = Freezer(model, table((), ("layers.0", "layers.1")), anatomy)
    freezer.start_epoch()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    freezer.attach(optimizer)
    train(model, optimizer)
    freezer.end_epoch()
    freezer.start_epoch()
    train(model, optimizer, 3)
    assert all(layer.norm.bias.any() for layer in model.layers)


# --- optimizers that were built from what trained at the time ---


def test_thawed_blocks_join_as_twins(net, anatomy, table, train):
    model = net()
    plan = ((), ("layers.1",), ("layers.0", "layers.1"))
    freezer = Freezer(model, table(*plan), anatomy)
    freezer.start_epoch()
    head, last = model.heads.parameters(), model.layers[1].parameters()
    optimizer = torch.optim.SGD([{"params": head}, {"params": last, "lr": 0.01}], lr=0.1, momentum=0.9)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 10, eta_min=1e-4)
    freezer.attach(optimizer, scheduler)
    for _ in plan:
        freezer.start_epoch()
        train(model, optimizer, 2, scheduler)
        freezer.end_epoch()
    assert len(optimizer.param_groups) == 3
    # the nearest block behind, not the head, is whose twin it is
    conv = model.layers[0].conv.weight
    assert rate_of(optimizer, conv) == rate_of(optimizer, model.layers[1].conv.weight)
    assert rate_of(optimizer, conv) != rate_of(optimizer, model.heads["verb"].weight)


def test_biases_and_norms_join_those_that_are_spared_of_decay(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table(("layers.1",), ("layers.0", "layers.1")), anatomy)
    heads = list(model.heads.parameters())
    spared = {"params": [p for p in heads if p.ndim == 1], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([{"params": [p for p in heads if p.ndim > 1]}, spared], weight_decay=0.1)
    freezer.attach(optimizer)
    for _ in range(2):
        freezer.start_epoch()
        train(model, optimizer)
        freezer.end_epoch()
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for layer in model.layers:
        assert {name: decay[id(p)] for name, p in layer.named_parameters()} == {
            "conv.weight": 0.1,
            "conv.bias": 0.0,
            "norm.weight": 0.0,
            "norm.bias": 0.0,
        }

    again = net()
    resumed = Freezer(again, table(("layers.1",), ("layers.0", "layers.1")), anatomy)
    heads = list(again.heads.parameters())
    spared = {"params": [p for p in heads if p.ndim == 1], "weight_decay": 0.0}
    other = torch.optim.AdamW([{"params": [p for p in heads if p.ndim > 1]}, spared], weight_decay=0.1)
    resumed.attach(other)
    resumed.load_state_dict(freezer.state_dict())
    other.load_state_dict(optimizer.state_dict())
    assert [len(g["params"]) for g in other.param_groups] == [
        len(g["params"]) for g in optimizer.param_groups
    ]


def test_attaching_late_finds_what_is_missing(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table(("layers.1",)), anatomy)
    freezer.start_epoch()
    optimizer = torch.optim.Adam(model.heads.parameters(), lr=0.1)
    freezer.attach(optimizer)
    before = model.layers[1].conv.weight.detach().clone()
    train(model, optimizer, 4)
    assert not torch.equal(before, model.layers[1].conv.weight)


def test_a_head_that_is_missing_is_an_error(net, anatomy, table):
    model = net()
    optimizer = torch.optim.Adam(model.heads["verb"].parameters())
    with pytest.raises(ValueError, match=r"lacks parameters of head 'heads.noun': heads.noun.weight"):
        Freezer(model, table(()), anatomy).attach(optimizer)


def test_so_is_a_head_that_was_replaced_afterwards(net, anatomy, table):
    model = net()
    freezer = Freezer(model, table(()), anatomy)
    freezer.attach(torch.optim.Adam(freezer.param_groups()))
    model.heads["noun"] = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"head 'heads.noun'.*; make it after the head"):
        freezer.start_epoch()


def test_a_scheduler_that_is_not_torch_s_is_not_guessed_at(net, anatomy, table):
    class Foreign:
        def __init__(self, optimizer):
            self.base_values = [group["lr"] for group in optimizer.param_groups]

    freezer = Freezer(net(), table(("layers.1",)), anatomy)
    freezer.attach(optimizer := torch.optim.Adam(freezer.param_groups()), Foreign(optimizer))
    assert freezer.start_epoch().thawed == ("layers.1",)  # nothing had to be added

    model = net()
    freezer = Freezer(model, table(("layers.1",)), anatomy)
    optimizer = torch.optim.Adam(model.heads.parameters())
    freezer.attach(optimizer, Foreign(optimizer))
    with pytest.raises(ValueError, match=r"under a Foreign.*from freezer\.param_groups\(\)"):
        freezer.start_epoch()


def test_an_unknown_scheduler_is_an_error(net, anatomy, table):
    model = net()
    freezer = Freezer(model, table((), ("layers.1",)), anatomy)
    optimizer = torch.optim.Adam(model.heads.parameters())
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    freezer.attach(optimizer)
    freezer.start_epoch()
    freezer.end_epoch()
    with pytest.raises(ValueError, match=r"pass it: attach\(optimizer, scheduler\)"):
        freezer.start_epoch()
    freezer.attach(optimizer, scheduler)
    assert freezer.start_epoch().thawed == ("layers.1",)
    assert len(scheduler.base_lrs) == 2


def test_one_optimizer_at_a_time(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table(()), anatomy)
    first, second = (torch.optim.SGD(freezer.param_groups(lr=0.1), weight_decay=0.5) for _ in range(2))
    freezer.attach(first)
    with pytest.raises(ValueError, match=r"detach\(\)"):
        freezer.attach(second)
    with pytest.raises(TypeError, match="not list"):
        Freezer(model, table(()), anatomy).attach([first])
    freezer.detach()
    freezer.attach(second)
    freezer.start_epoch()
    train(model, second)
    assert freezer.learning_rates()["heads.verb"] == 0.1


def test_a_wrapper_that_only_poses_as_an_optimizer_is_refused(net, anatomy, table):
    class Lookahead(torch.optim.Optimizer):
        def __init__(self, inner):
            self._optimizer_step_pre_hooks = {}
            self.param_groups = inner.param_groups

    freezer = Freezer(net(), table(()), anatomy)
    with pytest.raises(TypeError, match="not Lookahead; if it wraps one, hand over that one"):
        freezer.attach(Lookahead(torch.optim.SGD(freezer.param_groups(lr=0.1))))


def test_lbfgs_is_refused(net, anatomy, table):
    model = net()
    with pytest.raises(ValueError, match="LBFGS"):
        Freezer(model, table(()), anatomy).attach(torch.optim.LBFGS(model.parameters()))


# --- learning rates ---


def test_param_groups(net, anatomy, table):
    freezer = Freezer(net(), table(()), anatomy)
    groups = freezer.param_groups(lr=1.0, head_lr=8.0, backbone_lr=4.0, layer_decay=0.5)
    rates = {group["name"]: group["lr"] for group in groups}
    # the pool owns nothing, so it neither has a group nor counts as a distance
    assert rates == {"stem": 1.0, "layers.0": 2.0, "layers.1": 4.0, "heads.verb": 8.0, "heads.noun": 8.0}
    assert {group["name"] for group in freezer.param_groups()} == rates.keys()
    assert {group["kind"] for group in groups[:3]} == {"block"}
    groups = freezer.param_groups(weight_decay=0.1)
    decays = {name: g["weight_decay"] for g in groups for name in g["parameter_names"]}
    assert decays["layers.0.conv.weight"] == 0.1
    assert decays["layers.0.conv.bias"] == decays["layers.0.norm.weight"] == 0.0
    assert sum(len(group["params"]) for group in groups) == len(list(freezer.model.parameters()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": -1.0}, "^lr must be at least 0, not -1.0"),
        ({"backbone_lr": float("nan")}, "^backbone_lr must be at least 0, not nan"),
        ({"weight_decay": -0.1}, "^weight_decay must be at least 0"),
        ({"layer_decay": 0.0}, "^layer_decay must be above 0, not 0.0"),
    ],
)
def test_rates_that_cannot_be_meant(net, anatomy, table, wrong, message):
    with pytest.raises(ValueError, match=message):
        Freezer(net(), table(()), anatomy).param_groups(**wrong)


def test_warmups_rise_by_step_and_compose_with_a_recursive_scheduler(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table((), ("layers.1",)), anatomy, warmup_steps=2, thaw_warmup_steps=4)
    optimizer = torch.optim.SGD(freezer.param_groups(lr=1e-3))
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)  # computes each rate from the one before
    freezer.attach(optimizer, scheduler)
    heads, block, used = [], [], []
    optimizer.register_step_pre_hook(lambda o, *_: used.append(rate_of(o, model.heads["verb"].weight)))
    for _ in range(2):
        freezer.start_epoch()
        for step in range(3):
            heads.append(freezer.learning_rates()["heads.verb"])
            block.append(freezer.learning_rates()["layers.1"])
            train(model, optimizer, scheduler=scheduler, seed=step)
        freezer.end_epoch()
    plain = [1e-3 * 0.5**step for step in range(6)]
    assert heads == pytest.approx([plain[0] / 2, *plain[1:]])
    assert block == pytest.approx(
        [0, 0, 0, *(rate * f for rate, f in zip(plain[3:], (0.25, 0.5, 0.75), strict=True))]
    )
    assert used == pytest.approx(heads)


def test_a_group_of_everything_parts_for_the_step(net, anatomy, table):
    model = net()
    freezer = Freezer(model, table(("layers.1",), lr_scale=0.5), anatomy)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    freezer.attach(optimizer)
    freezer.start_epoch()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    change = {name: (before[name] - p).abs().max().item() for name, p in model.named_parameters()}
    assert change["heads.verb.weight"] == pytest.approx(0.1)
    assert change["layers.1.conv.weight"] == pytest.approx(0.05)
    assert change["layers.0.conv.weight"] == change["position"] == 0
    assert len(optimizer.param_groups) == 1
    assert optimizer.param_groups[0]["lr"] == 0.1


# --- a thawed block really trains ---


def test_a_thawed_block_without_gradient_is_an_error(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table((), ("layers.1",)), anatomy)
    optimizer = torch.optim.SGD(freezer.param_groups(lr=0.1))
    freezer.attach(optimizer)
    freezer.start_epoch()
    train(model, optimizer)
    freezer.end_epoch()
    freezer.start_epoch()
    handle = model.layers[1].register_forward_hook(lambda module, args, out: out.detach())
    with pytest.raises(
        RuntimeError, match=r"'layers.1' has been thawed, but got no gradient: layers.1.conv.weight"
    ):
        train(model, optimizer)
    freezer.allow_unused = True
    train(model, optimizer)
    handle.remove()


def test_a_block_that_has_trained_may_sit_out_a_step(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table(("layers.1",)), anatomy)
    optimizer = torch.optim.SGD(freezer.param_groups(lr=0.1))
    freezer.attach(optimizer)
    freezer.start_epoch()
    train(model, optimizer)
    model.layers[1].forward = lambda x: x  # layer drop
    train(model, optimizer)


def test_a_thawed_block_at_rate_zero_is_an_error(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table(("layers.1",)), anatomy)
    optimizer = torch.optim.SGD(freezer.param_groups(lr=0.1, backbone_lr=0.0))
    freezer.attach(optimizer)
    freezer.start_epoch()
    with pytest.raises(RuntimeError, match=r"its learning rate is 0: layers.1.conv.weight"):
        train(model, optimizer)


def test_a_schedule_that_starts_at_zero_is_fine(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table(("layers.1",)), anatomy)
    optimizer = torch.optim.SGD(freezer.param_groups(lr=0.1))
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda step: step)
    freezer.attach(optimizer, scheduler)
    freezer.start_epoch()
    train(model, optimizer, 2, scheduler)


def test_a_parameter_that_left_its_group_is_an_error(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table(("layers.1",)), anatomy)
    optimizer = torch.optim.SGD(freezer.param_groups(lr=0.1))
    freezer.attach(optimizer)
    freezer.start_epoch()
    optimizer.param_groups[2]["params"].pop(0)
    with pytest.raises(RuntimeError, match=r"not in exactly one parameter group: layers.1.conv.weight"):
        train(model, optimizer)
    optimizer.param_groups[0]["params"].append(optimizer.param_groups[2]["params"][0])
    with pytest.raises(ValueError, match="several parameter groups"):
        freezer.attach(optimizer)


def test_with_a_closure_the_check_comes_after_the_step(net, anatomy, table):
    model = net()
    freezer = Freezer(model, table(("layers.1",)), anatomy)
    optimizer = torch.optim.SGD(freezer.param_groups(lr=0.1))
    freezer.attach(optimizer)
    freezer.start_epoch()

    def closure():
        optimizer.zero_grad()
        loss = sum(out.sum() for out in model(torch.ones(2, 1, 2, 2, 2)).values())
        loss.backward()
        return loss

    optimizer.step(closure)
    model.layers[1].register_forward_hook(lambda module, args, out: out.detach())
    freezer.end_epoch()
    other = Freezer(model, table((), ("layers.1",)), anatomy)
    freezer.detach()
    other.attach(optimizer)
    other.start_epoch()
    other.end_epoch()
    other.start_epoch()
    with pytest.raises(RuntimeError, match="got no gradient"):
        optimizer.step(closure)


# --- whatever else is around a step ---


def test_gradient_scaler_and_accumulation(net, anatomy, table, same, bits):
    model = net()
    freezer = Freezer(model, table((), ("layers.1",)), anatomy)
    optimizer = torch.optim.AdamW(freezer.param_groups(lr=0.01))
    freezer.attach(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # overflows at first, so steps are left out
    for _ in range(2):
        freezer.start_epoch()
        before = bits(model, "layers.0")
        for step in range(12):
            loss = sum(out.square().sum() for out in model(torch.randn(4, 1, 2, 2, 2)).values())
            scaler.scale(loss).backward()
            if step % 2:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
            if step == 7:
                scaler.update(1024.0)
        assert same(before, bits(model, "layers.0"))
        freezer.end_epoch()
    taken = freezer.state_dict()["pace"]["steps"]
    assert 0 < taken < 12
    assert int(optimizer.state[model.heads["verb"].weight]["step"]) == taken


def test_activation_checkpointing_across_a_transition(net, anatomy, table, train):
    def make(use_reentrant):
        model = net()
        for layer in model.layers:
            inner = layer.forward
            layer.forward = lambda x, inner=inner: checkpoint(inner, x, use_reentrant=use_reentrant)
        freezer = Freezer(model, table((), ("layers.0", "layers.1")), anatomy)
        optimizer = torch.optim.SGD(freezer.param_groups(lr=0.1))
        freezer.attach(optimizer)
        freezer.start_epoch()
        train(model, optimizer)
        freezer.end_epoch()
        freezer.start_epoch()
        return model, optimizer

    train(*make(use_reentrant=False))


def test_an_average_of_the_weights_keeps_up(net, anatomy, table, train):
    model = net()
    freezer = Freezer(model, table((), ("layers.1",)), anatomy)
    optimizer = torch.optim.SGD(freezer.param_groups(lr=0.1))
    freezer.attach(optimizer)
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    start = copy.deepcopy(average.module.layers[1].conv.weight)
    for _ in range(2):
        freezer.start_epoch()
        train(model, optimizer, 2)
        average.update_parameters(model)
        freezer.end_epoch()
    assert not torch.equal(start, average.module.layers[1].conv.weight)
    assert torch.equal(model.layers[0].conv.weight, average.module.layers[0].conv.weight)
