"""Every optimizer x every scheduler x two ways to build the optimizer, across freeze, thaw, re-freeze, thaw.

The model is two towers that share nothing but the input, so what happens to one must not show in the other,
bit for bit. The reference for the tower that always trains is a run in which the other is always frozen.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from unfreeze.anatomy import Anatomy, Part
from unfreeze.freezer import Freezer
from unfreeze.optim import MuonWithAdamW
from unfreeze.strategies.base import Decision, Strategy

# which tower trains in which epoch; `always` does throughout
PLAN = (("always",), ("always", "tower"), ("always",), ("always", "tower"))
ALONE = (("always",),) * len(PLAN)
STEPS = 2

OPTIMIZERS = {
    cls.__name__: cls
    for cls in [*vars(torch.optim).values(), MuonWithAdamW]
    if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer)
    if cls not in (torch.optim.Optimizer, torch.optim.LBFGS)
}
ARGUMENTS = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.1},
    "Muon": {"weight_decay": 0.5},
    "RMSprop": {"momentum": 0.5},
}


def _sequential(optimizer):
    first = lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    return lr_scheduler.SequentialLR(optimizer, [first, lr_scheduler.ExponentialLR(optimizer, 0.9)], [3])


def _chained(optimizer):
    first = lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=3)
    return lr_scheduler.ChainedScheduler([first, lr_scheduler.CosineAnnealingLR(optimizer, 8, eta_min=1e-4)])


def _nested(optimizer):
    first = lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    cycle = lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=20, cycle_momentum=_cycles(optimizer))
    sequence = lr_scheduler.SequentialLR(optimizer, [first, cycle], [4])
    return lr_scheduler.ChainedScheduler([sequence, lr_scheduler.StepLR(optimizer, 2, 0.5)])


def _cycles(optimizer):
    return bool({"momentum", "betas"} & set(optimizer.defaults))


SCHEDULERS = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 3]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 3),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 6),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 20, 2.0),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 5, eta_min=1e-4),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, min_lr=1e-3),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 1e-3, 1e-2, 3, cycle_momentum=_cycles(o)),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 1e-2, 8, cycle_momentum=_cycles(o)),
    "SWALR": lambda o: SWALR(o, swa_lr=1e-3, anneal_epochs=4),
    "SequentialLR": _sequential,
    "ChainedScheduler": _chained,
    "nested": _nested,
}


@dataclass(frozen=True)
class Table(Strategy):
    """A strategy that reads its decisions from a table."""

    plan: tuple[tuple[str, ...], ...] = ()

    def decide(self, history, blocks):
        return Decision(history.next_epoch, self.plan[history.next_epoch - 1], "as the table says")


Table.name = "table"  # given late, so that it is not registered as a strategy for users


class Towers(nn.Module):
    """Two independent towers with a head each; ``tower`` has a BatchNorm and a dropout."""

    def __init__(self, matrices_only: bool):
        super().__init__()
        bias = not matrices_only
        self.always = nn.Linear(3, 2, bias=bias)
        self.tower = nn.Sequential(
            nn.BatchNorm1d(3, affine=bias), nn.Linear(3, 2, bias=bias), nn.Dropout(0.5)
        )
        self.heads = nn.ModuleDict({"a": nn.Linear(2, 2, bias=bias), "b": nn.Linear(2, 2, bias=bias)})

    def forward(self, x):
        return self.heads["a"](self.always(x)), self.heads["b"](self.tower(x))


def part(model, name, path):
    return Part(
        name,
        tuple(f"{path}.{key}" for key, _ in model.get_submodule(path).named_parameters()),
        tuple(f"{path}.{key}" for key, _ in model.get_submodule(path).named_buffers()),
        tuple(f"{path}.{key}".rstrip(".") for key, _ in model.get_submodule(path).named_modules()),
    )


def anatomy_of(model):
    return Anatomy(
        heads=(part(model, "heads.a", "heads.a"), part(model, "heads.b", "heads.b")),
        blocks=(part(model, "tower", "tower"), part(model, "always", "always")),
    )


def bits(model, prefix):
    return {key: value.clone() for key, value in model.state_dict().items() if key.startswith(prefix)}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


class Run:
    """One run of the plan; records what the contract is about."""

    def __init__(self, optimizer_name, scheduler_name, plan, filtered):
        cls = OPTIMIZERS[optimizer_name]
        sparse = cls is torch.optim.SparseAdam
        torch.manual_seed(0)
        # dropout of the other tower draws from the common generator
        data = torch.Generator().manual_seed(1)
        # in double precision even the smallest step shows
        self.model = Towers(matrices_only=cls is torch.optim.Muon).double()
        freezer = Freezer(self.model, Table(plan), anatomy_of(self.model))
        if filtered:
            freezer.start_epoch()
            groups = [p for p in self.model.parameters() if p.requires_grad]
        else:
            groups = freezer.param_groups(lr=0.01)
        self.optimizer = cls(groups, lr=0.01, **ARGUMENTS.get(optimizer_name, {}))
        scheduler = SCHEDULERS[scheduler_name](self.optimizer)
        freezer.attach(self.optimizer, scheduler)
        self.rates, self.sibling_rates, self.moved = [], [], []
        for _ in plan:
            freezer.start_epoch()
            frozen = bits(self.model, "tower")
            for step in range(STEPS):
                self.model.train()
                loss = sum(
                    out.square().sum()
                    for out in self.model(torch.randn(4, 3, generator=data, dtype=torch.double))
                )
                self.optimizer.zero_grad(set_to_none=False)
                loss.backward()
                if sparse:
                    for p in self.model.parameters():
                        p.grad = p.grad if p.grad is None or p.grad.is_sparse else p.grad.to_sparse()
                self.rates.append(self.rate("always.weight"))
                before = {name: p.detach().clone() for name, p in self.model.tower.named_parameters()}
                self.optimizer.step()
                if step == 0:
                    after = dict(self.model.tower.named_parameters())
                    self.moved.append([not torch.equal(before[name], after[name]) for name in before])
                if "tower" in freezer.transition.decision.trainable:
                    self.sibling_rates.append((self.rate("always.weight"), self.rate("tower.1.weight")))
                if scheduler_name == "ReduceLROnPlateau":
                    scheduler.step(1.0)
                else:
                    scheduler.step()
                if sparse:
                    self.optimizer.zero_grad()
            if "tower" not in freezer.transition.decision.trainable:
                assert same(frozen, bits(self.model, "tower"))
            freezer.end_epoch(loss=1.0)
        # what torch keeps must still fit together
        self.optimizer.load_state_dict(self.optimizer.state_dict())
        scheduler.load_state_dict(scheduler.state_dict())

    def rate(self, name):
        wanted = self.model.get_parameter(name)
        return next(
            float(g["lr"]) for g in self.optimizer.param_groups if any(p is wanted for p in g["params"])
        )

    def always(self):
        """Bits and optimizer state of the tower that always trains, and of its head."""
        names = {
            name: p for name, p in self.model.named_parameters() if name.startswith(("always", "heads.a"))
        }
        state = {
            f"{name}/{key}": torch.as_tensor(value).clone()
            for name, p in names.items()
            for key, value in self.optimizer.state[p].items()
            if value is not None
        }
        return state | {name: p.detach().clone() for name, p in names.items()}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def reference(optimizer_name, scheduler_name, filtered):
    """The run in which the other tower was frozen throughout."""
    run = Run(optimizer_name, scheduler_name, ALONE, filtered)
    return run.always(), run.rates


@pytest.mark.parametrize("filtered", [False, True], ids=["param_groups", "filter"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_transitions_disturb_nobody(optimizer, scheduler, filtered):
    with warnings.catch_warnings():
        # torch's own: SequentialLR steps its members with an epoch
        warnings.filterwarnings("ignore", message="The epoch parameter in")
        bits_alone, rates_alone = reference(optimizer, scheduler, filtered and optimizer == "MuonWithAdamW")
        run = Run(optimizer, scheduler, PLAN, filtered)
    assert run.rates == rates_alone
    assert same(run.always(), bits_alone)
    for moved, trainable in zip(run.moved, PLAN, strict=True):
        assert all(moved) if "tower" in trainable else not any(moved)
    assert all(sibling == own for sibling, own in run.sibling_rates)
    assert len(run.sibling_rates) == 2 * STEPS


def test_every_scheduler_of_torch_is_in_the_contract():
    classes = {
        cls.__name__
        for cls in vars(lr_scheduler).values()
        if inspect.isclass(cls)
        and issubclass(cls, lr_scheduler.LRScheduler)
        and not cls.__name__.startswith("_")
    }
    assert classes - {"LRScheduler"} <= SCHEDULERS.keys()
