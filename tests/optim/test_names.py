"""Optimizers and schedulers by name: everything torch has, sane defaults, and one line for every mistake."""

from __future__ import annotations

import inspect
import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from unfreeze.optim import (
    MuonWithAdamW,
    NoSchedule,
    Schedule,
    build_optimizer,
    build_scheduler,
    optimizers,
    schedulers,
)
from unfreeze.optim.pace import Pace

NEEDED = {
    "lambda": {"factors": [1.0, 0.5]},
    "multiplicative": {"factors": [0.5, 0.5, 1.0]},
    "sequential": {
        "schedulers": [{"name": "linear", "start_factor": 0.1, "end_factor": 1.0}, {"name": "cosine"}],
        "milestones": [2],
    },
    "chained": {"schedulers": [{"name": "exponential", "gamma": 0.5}, {"name": "step", "step_size": 2}]},
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def rates(schedule, optimizer, epochs, steps):
    """The learning rate in every optimizer step of a run."""
    seen = []
    for _ in range(epochs):
        for _ in range(steps):
            for group in optimizer.param_groups:
                for p in group["params"]:
                    p.grad = torch.ones_like(p)
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step_batch()
        schedule.step_epoch(0.5)
    return seen


# --- optimizers ---


def test_every_optimizer_that_fits_is_offered():
    classes = {n.lower() for n, c in vars(torch.optim).items() if inspect.isclass(c) and hasattr(c, "step")}
    assert set(optimizers()) == classes - {"optimizer", "lbfgs", "sparseadam"}


@pytest.mark.parametrize("name", optimizers())
def test_each_optimizer_trains(model, name):
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = build_optimizer(name, [{"params": list(model.parameters()), "lr": 0.1}], lr=1.0)
    model(torch.randn(8, 3)).square().sum().backward()
    optimizer.step()
    assert not any(torch.equal(b, p) for b, p in zip(before, model.parameters(), strict=True))
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}


def test_defaults_and_extra_arguments(model):
    assert build_optimizer("SGD", model.parameters(), lr=0.1).defaults["momentum"] == 0.9
    sgd = build_optimizer("sgd", model.parameters(), lr=0.1, momentum=0.5, weight_decay=0.1)
    assert (sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.5, 0.1)
    assert build_optimizer("adamw", model.parameters(), lr=0.1).defaults["weight_decay"] == 0.01
    assert build_optimizer("adam", model.parameters(), lr=0.1, betas=[0.8, 0.9]).defaults["betas"] == (
        0.8,
        0.9,
    )


@pytest.mark.parametrize(
    ("name", "extra", "message"),
    [
        ("adamv", {}, "unknown optimizer 'adamv'; did you mean 'adam"),
        ("sgd", {"momentun": 0.9}, "no argument 'momentun'; did you mean 'momentum'"),
        ("sgd", {"momentum": "much"}, "'sgd': momentum must be a number, not 'much'"),
        ("sgd", {"nesterov": 1}, "nesterov must be true or false, not 1"),
        ("adam", {"betas": [0.9]}, "betas must be a list of 2 numbers"),
        ("adam", {"betas": [0.9, 2.0]}, "'adam': Invalid beta parameter at index 1"),
        ("sgd", {"momentum": 0.0, "nesterov": True}, "Nesterov momentum requires"),
        ("sgd", {"foreach": "yes"}, "foreach must be true or false, not 'yes'"),
        ("muon", {"ns_steps": 2.5}, "ns_steps must be a whole number"),
        ("lbfgs", {}, "'lbfgs' cannot be used here: it needs a closure"),
        ("sparseadam", {}, "'sparseadam' cannot be used here: it takes sparse gradients"),
        ("rprop", {"weight_decay": 0.1}, "'rprop' knows no weight decay"),
    ],
)
def test_mistakes_with_optimizers(model, name, extra, message):
    with pytest.raises(ValueError, match=message) as caught:
        build_optimizer(name, model.parameters(), lr=0.1, **extra)
    assert "\n" not in str(caught.value)


def test_weight_decay_in_groups_is_not_dropped_in_silence(model):
    with pytest.raises(ValueError, match="knows no weight decay"):
        build_optimizer("rprop", [{"params": list(model.parameters()), "weight_decay": 0.1}], lr=0.1)


# --- Muon ---


def muon_groups(model):
    names, params = zip(*model.named_parameters(), strict=True)
    return [
        {"params": list(params[:2]), "name": "body", "kind": "block", "parameter_names": names[:2]},
        {"params": list(params[2:]), "name": "head", "kind": "head", "parameter_names": names[2:]},
    ]


def test_muon_gets_the_matrices_of_hidden_layers(model):
    optimizer = build_optimizer("muon", muon_groups(model), lr=0.1)
    assert isinstance(optimizer, MuonWithAdamW)
    shares = [(g["name"], g["algorithm"], g["parameter_names"]) for g in optimizer.param_groups]
    assert shares == [
        ("body", "muon", ("0.weight",)),
        ("body", "adamw", ("0.bias",)),
        ("head", "adamw", ("1.weight", "1.bias")),
    ]


def test_embeddings_tables_and_kernels_go_to_adamw():
    names = [
        "pos_embed.weight",
        "attn.relative_position_bias_table",
        "proj.weight",
        "conv.weight",
        "attn.in_proj_weight",
    ]
    shapes = [(4, 4), (4, 4), (4, 4), (4, 4, 1), (4, 4)]
    params = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    optimizer = MuonWithAdamW([{"params": params, "parameter_names": tuple(names)}])
    assert optimizer.param_groups[0]["parameter_names"] == ("proj.weight", "attn.in_proj_weight")


def test_muon_does_not_pass_off_adamw_as_itself():
    kernel = {"params": [nn.Parameter(torch.ones(2, 2, 1))], "kind": "block"}
    head = {"params": [nn.Parameter(torch.ones(2, 2))], "kind": "head"}
    with pytest.raises(ValueError, match="needs weight matrices in hidden layers"):
        build_optimizer("muon", [kernel, head], lr=0.1)


def test_muon_equals_its_halves(model):
    torch.manual_seed(0)
    twin = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = build_optimizer("muon", muon_groups(model), lr=0.1, weight_decay=0.1)
    halves = [
        torch.optim.Muon(
            [twin[0].weight], lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", eps=1e-8
        ),
        torch.optim.AdamW([twin[0].bias, *twin[1].parameters()], lr=0.1, weight_decay=0.1),
    ]
    for step in range(3):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        for net, parts in ((model, [optimizer]), (twin, halves)):
            net.zero_grad()
            net(x).square().sum().backward()
            for one in parts:
                one.step()
        if step == 1:  # a round trip through its state changes nothing
            file = io.BytesIO()
            torch.save(optimizer.state_dict(), file)
            file.seek(0)
            optimizer = build_optimizer("muon", muon_groups(model), lr=0.9)
            optimizer.load_state_dict(torch.load(file, weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


# --- schedulers ---


def test_every_scheduler_is_offered_by_class_name_too(model):
    for name, cls in vars(lr_scheduler).items():
        if (
            inspect.isclass(cls)
            and issubclass(cls, lr_scheduler.LRScheduler)
            and not name.startswith(("_", "LRS"))
        ):
            key = name.lower()
            friendly = {
                "lambdalr": "lambda",
                "multiplicativelr": "multiplicative",
                "sequentiallr": "sequential",
            }
            extra = NEEDED.get(friendly.get(key, key.removesuffix("scheduler")), {})
            optimizer = build_optimizer("sgd", model.parameters(), lr=0.1)
            schedule = build_scheduler(key, optimizer, epochs=6, steps_per_epoch=2, **extra)
            assert type(schedule.scheduler) is cls


@pytest.mark.parametrize("name", schedulers())
@pytest.mark.parametrize("optimizer_name", ["sgd", "adamw", "adagrad", "muon"])
def test_each_scheduler_runs_to_the_end(model, name, optimizer_name):
    optimizer = build_optimizer(optimizer_name, model.parameters(), lr=0.1)
    schedule = build_scheduler(name, optimizer, epochs=5, steps_per_epoch=3, **NEEDED.get(name, {}))
    assert isinstance(schedule, (Schedule, NoSchedule))
    seen = rates(schedule, optimizer, 5, 3)
    assert all(0 <= rate <= 0.1001 for rate in seen)
    assert (len(set(seen)) > 1) == (name not in ("none", "constant"))
    file = io.BytesIO()
    torch.save(schedule.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    keys = set(state)
    schedule.load_state_dict(state)
    assert set(state) == keys


def test_lengths_follow_from_the_run(model):
    def run(name, epochs=4, steps=3, **extra):
        optimizer = build_optimizer("sgd", model.parameters(), lr=1.0)
        schedule = build_scheduler(name, optimizer, epochs=epochs, steps_per_epoch=steps, **extra)
        return rates(schedule, optimizer, epochs, steps)

    cosine = [(1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4) for _ in range(3)]
    assert run("cosine") == pytest.approx(cosine)
    smooth = [(1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)]
    assert run("cosine", interval="step") == pytest.approx(smooth)
    assert run("onecycle")[-1] == pytest.approx(1 / 25 / 1e4)
    assert run("linear", steps=1) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert run("lambda", steps=1, factors=[0.1, 1, 0.5]) == [0.1, 1, 0.5, 0.5]
    assert run("multiplicative", steps=1, factors=[0.5, 1, 0.5]) == [1, 0.5, 0.5, 0.25]
    assert run("constant") == [1.0] * 12
    two = [{"name": "linear", "start_factor": 0.5, "end_factor": 1.0}, {"name": "linear"}]
    assert run("sequential", steps=1, schedulers=two, milestones=[2]) == pytest.approx([0.5, 0.75, 1, 0.5])
    smooth = run("sequential", steps=2, schedulers=two, milestones=[2], interval="step")
    assert smooth == pytest.approx([0.5, 0.625, 0.75, 0.875, 1, 0.75, 0.5, 0.25])


def test_plateau_minds_its_metric(model):
    optimizer = build_optimizer("sgd", model.parameters(), lr=1.0)
    schedule = build_scheduler(
        "plateau", optimizer, epochs=9, steps_per_epoch=1, metric_mode="max", patience=0
    )
    for metric in (0.1, 0.2, 0.3):
        schedule.step_epoch(metric)
    assert optimizer.param_groups[0]["lr"] == 1.0
    with pytest.warns(UserWarning, match="NaN"):
        schedule.step_epoch(math.nan)
    assert optimizer.param_groups[0]["lr"] == 1.0
    with pytest.raises(ValueError, match="needs a metric"):
        schedule.step_epoch()
    schedule.step_epoch(0.2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_rates_of_groups_are_kept(model):
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[1].parameters(), "lr": 1.0}]
    for name in ("onecycle", "cyclic", "swa", "cosine"):
        optimizer = build_optimizer("adamw", [dict(g, params=list(g["params"])) for g in groups], lr=9.0)
        groups = [{"params": model[i].parameters(), "lr": lr} for i, lr in enumerate((0.1, 1.0))]
        build_scheduler(name, optimizer, epochs=3, steps_per_epoch=2)
        low, high = (float(group["lr"]) for group in optimizer.param_groups)
        assert high == pytest.approx(10 * low)


@pytest.mark.parametrize(
    ("name", "extra", "message"),
    [
        ("cosin", {}, "unknown scheduler 'cosin'; did you mean 'cosine'"),
        ("cosine", {"tmax": 3}, "no argument 'tmax'; did you mean 'T_max'"),
        ("cosine", {"T_max": "long"}, "T_max must be a whole number"),
        ("cosine", {"T_max": 0}, "T_max must be at least 1"),
        ("cosine", {"interval": "day"}, "interval must be step or epoch, not 'day'"),
        ("step", {"step_size": 0}, "step_size must be at least 1"),
        ("onecycle", {"pct_start": 2.0}, "'onecycle': Expected float between 0 and 1"),
        ("onecycle", {"anneal_strategy": 3}, "anneal_strategy must be one of cos, linear, not 3"),
        ("cyclic", {"scale_mode": "epochs"}, "scale_mode must be one of cycle, iterations, not .epochs."),
        ("multistep", {"milestones": ["two"]}, r"needs milestones: rising whole numbers, not \['two'\]"),
        ("multistep", {"milestones": 3}, "needs milestones: rising whole numbers, not 3"),
        ("plateau", {"interval": "step"}, "interval must be epoch"),
        ("plateau", {"factor": 2.0}, "Factor should be < 1.0"),
        ("lambda", {}, "needs factors: a list of numbers"),
        ("lambda", {"factors": "1/epoch"}, "needs factors: a list of numbers"),
        ("none", {"gamma": 1}, "takes no arguments, not gamma"),
        ("sequential", {}, "needs schedulers: a list"),
        ("sequential", {"schedulers": [{"name": "step"}], "milestones": [1]}, "0 rising epochs"),
        ("sequential", {"schedulers": [{"name": "plateau"}]}, "cannot contain plateau"),
        (
            "sequential",
            {"schedulers": [{"name": "step"}], "milestone": []},
            "no argument 'milestone'; did you mean",
        ),
        ("chained", {"schedulers": [{"name": "setp"}]}, "unknown scheduler 'setp'; did you mean 'step'"),
        (
            "chained",
            {"schedulers": [{"name": "step", "gama": 1}]},
            "no argument 'gama'; did you mean 'gamma'",
        ),
    ],
)
def test_mistakes_with_schedulers(model, name, extra, message):
    optimizer = build_optimizer("sgd", model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=message) as caught:
        build_scheduler(name, optimizer, epochs=4, steps_per_epoch=2, **extra)
    assert "\n" not in str(caught.value)


# --- warm-up ---


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 40), st.integers(0, 40))
def test_warmups_only_rise_and_end_at_one(run, thaw, at, later):
    pace = Pace(run, thaw)
    pace.steps = at
    pace.thaw(["block"])
    factors = []
    for _ in range(later + 1):
        factors.append(pace.factor("block"))
        assert pace.moving or factors[-1] == 1
        assert pace.factor("head") == pace.run_factor()
        pace.steps += 1
    assert factors == sorted(factors)
    assert all(0 < factor <= 1 for factor in factors)
    assert later < max(run - at, thaw) or factors[-1] == 1
    copy = Pace(run, thaw)
    copy.load_state_dict(pace.state_dict())
    assert copy.factor("block") == pace.factor("block")


def test_a_one_cycle_must_last_as_long_as_the_run(model):
    optimizer = build_optimizer("sgd", model.parameters(), lr=1.0)
    with pytest.raises(ValueError, match="total_steps 5 ends before the run, which takes 6"):
        build_scheduler("onecycle", optimizer, epochs=3, steps_per_epoch=2, total_steps=5)


def test_cyclic_keeps_its_own_mode(model):
    optimizer = build_optimizer("sgd", model.parameters(), lr=1.0)
    schedule = build_scheduler("cyclic", optimizer, epochs=3, steps_per_epoch=2, mode="triangular2")
    assert schedule.scheduler.mode == "triangular2"
