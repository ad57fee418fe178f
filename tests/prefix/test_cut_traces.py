"""Nothing is left behind: by encode, advance, decode and prove, also where an error interrupts them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from unfreeze import Freezer
from unfreeze.anatomy import dissect
from unfreeze.frozen_mode import is_held
from unfreeze.prefix import CutError, FrozenPrefix
from unfreeze.strategies.early_gradual import EarlyGradual


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv3d(2, 2, 1), nn.BatchNorm3d(2), nn.Dropout(0.5)
        self.fails = False

    def forward(self, x):
        if self.fails:
            raise ArithmeticError("in the middle")
        return self.drop(torch.tanh(self.norm(self.conv(x))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(2, 2, 1)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3, 4)))


def state(model):
    """All that somebody could notice."""
    attributes = {
        name: {
            key: value
            for key, value in vars(module).items()
            if key not in ("_parameters", "_buffers", "_modules", "train")
        }
        for name, module in model.named_modules()
    }
    return copy.deepcopy(
        {
            "attributes": attributes,
            "held": [is_held(module) for module in model.modules()],
            "tensors": [tensor.tolist() for tensor in model.state_dict().values()],
            "grad": [p.grad.tolist() if p.grad is not None else None for p in model.parameters()],
            "wanted": [p.requires_grad for p in model.parameters()],
            "rng": torch.get_rng_state().tolist(),
            "cache": torch.is_autocast_cache_enabled(),
            "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        }
    )


@pytest.fixture(params=["training", "evaluating", "before any freezing"])
def model(request):
    model = Net()
    if request.param != "before any freezing":
        Freezer(model, EarlyGradual()).start_epoch()
    model.train(request.param != "evaluating")
    model(torch.randn(4, 2, 2, 3, 3)).sum().backward()  # so that there are gradients to disturb
    model.blocks[0].mark = "mine"
    return model


def prefixes(model):
    anatomy = dissect(model)
    return FrozenPrefix(model, anatomy, 2), FrozenPrefix(model, anatomy, 3)


def test_after_each_of_them_all_is_as_before(model):
    clips = torch.randn(4, 2, 2, 3, 3)
    low, high = prefixes(model)
    before = state(model)
    for _ in range(2):
        high.prove(clips)
        assert state(model) == before
        there = low.encode(clips)
        assert state(model) == before
        high.advance(there)
        low.encode(clips[:1])
        assert state(model) == before
    model.eval()  # what is trained in training mode has its statistics and its noise
    before = state(model)
    high.decode(high.encode(clips))
    assert state(model) == before


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_an_error_in_the_middle_leaves_nothing_either(model, fails):
    clips = torch.randn(4, 2, 2, 3, 3)
    low, high = prefixes(model)
    there = low.encode(clips), high.encode(clips)
    model.eval()
    model.blocks[fails].fails = True
    before = state(model)
    for call, hurts in (
        (lambda: low.prove(clips), True),
        (lambda: low.encode(clips), fails < 1),
        (lambda: prefixes(model)[0].encode(clips), True),  # the first look is at all of the model
        (lambda: high.encode(clips), fails < 2),
        (lambda: high.advance(there[0]), fails == 1),
        (lambda: low.decode(there[0]), fails > 0),
        (lambda: high.decode(there[1]), fails > 1),
    ):
        if hurts:
            with pytest.raises(ArithmeticError, match="in the middle"):
                call()
        else:
            call()
        assert state(model) == before


def test_a_model_that_cannot_be_cut_is_left_as_it_was():
    class Skip(Net):
        def forward(self, x):
            first = self.stem(x)
            return self.fc((self.blocks[2](self.blocks[1](self.blocks[0](first))) + first).mean((2, 3, 4)))

    model = Skip().train()
    clips = torch.randn(4, 2, 2, 3, 3)
    before = state(model)
    with pytest.raises(CutError, match="still uses stem"):
        FrozenPrefix(model, boundary=2).prove(clips)
    assert state(model) == before


def test_hooks_of_the_user_stay_and_count_once(same):
    """A hook that changes what a frozen block returns is part of the block."""
    model = Net().eval()
    seen = []
    model.blocks[0].register_forward_hook(lambda module, args, output: output * 2)
    model.blocks[1].register_forward_pre_hook(lambda module, args: seen.append("frozen"))
    model.blocks[2].register_forward_hook(lambda module, args, output: seen.append("trains"))
    clips = torch.randn(4, 2, 2, 3, 3)
    low, high = prefixes(model)
    for prefix in (low, high):
        prefix.prove(clips)
    seen.clear()
    there = high.encode(clips)
    assert seen == ["frozen"]
    assert same(high.decode(there), model(clips))
    assert seen == ["frozen", "trains", "frozen", "trains"]
    assert same(high.advance(low.encode(clips)).leaves, there.leaves)


def test_the_mode_of_the_rest_is_the_callers():
    model = Net()
    low, _ = prefixes(model)
    there = low.encode(torch.randn(4, 2, 2, 3, 3))
    statistics = model.blocks[1].norm.running_mean.clone()
    model.eval()
    assert torch.equal(low.decode(there), low.decode(there))
    assert torch.equal(statistics, model.blocks[1].norm.running_mean)
    model.train()
    assert not torch.equal(low.decode(there), low.decode(there))  # dropout
    assert not torch.equal(statistics, model.blocks[1].norm.running_mean)
