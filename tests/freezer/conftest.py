"""A small video model with everything that frozen mode is about, and a strategy that reads a table."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from unfreeze.anatomy import Anatomy, Part
from unfreeze.strategies.base import Decision, Strategy


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv3d(width, width, 1)
        self.norm = nn.BatchNorm3d(width)
        self.drop = nn.Dropout(0.5)
        self.path = StochasticDepth(0.5, "row")

    def forward(self, x):
        return x + self.path(self.drop(torch.tanh(self.norm(self.conv(x)))))


class Net(nn.Module):
    """Blocks stem, layers.0, layers.1 and pool (which owns nothing), two heads, a position at the root."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(1, 2, 1)
        self.position = nn.Parameter(torch.zeros(2, 1, 1, 1))
        self.layers = nn.ModuleList(Block(2) for _ in range(2))
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.heads = nn.ModuleDict({"verb": nn.Linear(2, 3), "noun": nn.Linear(2, 2)})

    def forward(self, x):
        x = self.stem(x) + self.position
        for layer in self.layers:
            x = layer(x)
        x = self.pool(x).flatten(1)
        return {name: head(x) for name, head in self.heads.items()}


@dataclass(frozen=True)
class Table(Strategy):
    """Epoch by epoch, the blocks that train."""

    plan: tuple[tuple[str, ...], ...] = ()
    lr_scale: float = 1.0

    def decide(self, history, blocks):
        trainable = self.plan[min(history.next_epoch, len(self.plan)) - 1]
        scales = dict.fromkeys(trainable, self.lr_scale) if self.lr_scale != 1 else {}
        return Decision(history.next_epoch, trainable, "as the table says", scales)


Table.name = "table"  # given late, so that it is not registered as a strategy for users


def _part(model, name, *paths):
    modules = [(path, model.get_submodule(path)) for path in paths]
    return Part(
        name,
        tuple(f"{path}.{key}" for path, module in modules for key, _ in module.named_parameters()),
        tuple(f"{path}.{key}" for path, module in modules for key, _ in module.named_buffers()),
        tuple(f"{path}.{key}".rstrip(".") for path, module in modules for key, _ in module.named_modules()),
    )


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def table():
    return lambda *plan, **options: Table(plan, **options)


@pytest.fixture
def net():
    return Net


@pytest.fixture
def anatomy():
    """The anatomy of a Net."""
    model = Net()
    stem = _part(model, "stem", "stem")
    return Anatomy(
        heads=(_part(model, "heads.verb", "heads.verb"), _part(model, "heads.noun", "heads.noun")),
        blocks=(
            Part("stem", (*stem.parameters, "position"), stem.buffers, stem.modules),
            _part(model, "layers.0", "layers.0"),
            _part(model, "layers.1", "layers.1"),
            _part(model, "pool", "pool"),
        ),
    )


@pytest.fixture
def part():
    return _part


@pytest.fixture
def train():
    """Train a Net (wrapped or not) for some steps, calling ``model.train()`` before each."""

    def run(model, optimizer, steps=1, scheduler=None, seed=1, set_to_none=True):
        for step in range(steps):
            data = torch.Generator().manual_seed(1000 * seed + step)
            model.train()
            out = model(torch.randn(4, 1, 2, 2, 2, generator=data))
            optimizer.zero_grad(set_to_none=set_to_none)
            sum(o.square().sum() for o in out.values()).backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()

    return run


@pytest.fixture
def bits():
    """A copy of all parameters and buffers whose names begin with one of ``prefixes``."""

    def take(model, *prefixes):
        return {k: v.clone() for k, v in model.state_dict().items() if k.startswith(prefixes or "")}

    return take


@pytest.fixture
def same():
    return lambda a, b: a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
