"""Frozen mode is deep and holds, whoever calls ``train``."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from unfreeze.freezer import Freezer
from unfreeze.frozen_mode import hold, is_held, release


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(3), (4, 3)),
        (nn.BatchNorm2d(3), (4, 3, 2, 2)),
        (nn.BatchNorm3d(3), (4, 3, 2, 2, 2)),
        (nn.SyncBatchNorm(3), (4, 3, 2, 2)),
        (nn.BatchNorm1d(3, momentum=None), (4, 3)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_batchnorm_buffers_stand_still(norm, shape, part):
    model = nn.Sequential(nn.Sequential(norm))
    frozen = part(model, "block", "0")
    hold(model, frozen)
    before = copy.deepcopy(norm.state_dict())
    for _ in range(3):
        model.train()
        model(torch.randn(shape))
    assert all(torch.equal(before[key], value) for key, value in norm.state_dict().items())
    release(model, frozen)
    if not isinstance(norm, nn.SyncBatchNorm):  # its training mode needs a GPU
        model(torch.randn(shape))
        assert norm.num_batches_tracked == before["num_batches_tracked"] + 1


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.Dropout3d(0.5), StochasticDepth(0.5, "row")])
def test_noise_is_inert_while_frozen_and_back_after_the_thaw(layer, part):
    model = nn.Sequential(nn.Sequential(layer))
    x = torch.ones(64, 2, 2, 2, 2)
    frozen = part(model, "block", "0")
    hold(model, frozen)
    model.train()
    assert torch.equal(model(x), x)
    release(model, frozen)
    assert not torch.equal(model(x), x)


def test_whoever_calls_train_the_frozen_block_stays(net, anatomy, table):
    model = net()
    Freezer(model, table(("layers.1",)), anatomy).start_epoch()
    callers = [
        model.train,
        model.layers.train,
        model.layers[0].train,
        model.layers[0].norm.train,
        nn.DataParallel(model).train,
        torch.compile(model, backend="eager").train,
        copy.deepcopy(model).train,
    ]
    for call in callers:
        call()
        assert not any(module.training for module in model.layers[0].modules())
    assert all(module.training for module in model.layers[1].modules())
    assert model.training


def test_a_thawed_block_takes_the_mode_of_what_is_above_it(net, anatomy, table):
    for mode in (True, False):
        model = net()
        freezer = Freezer(model, table((), ("layers.0",)), anatomy)
        freezer.start_epoch()
        freezer.end_epoch()
        model.train(mode)
        freezer.start_epoch()
        assert all(module.training is mode for module in model.layers[0].modules())
        assert not any(is_held(module) for module in model.layers[0].modules())


def test_a_copy_is_held_by_itself(net, anatomy, table):
    model = net()
    freezer = Freezer(model, table((), ("layers.0",)), anatomy)
    freezer.start_epoch()
    average = copy.deepcopy(model)
    freezer.end_epoch()
    freezer.start_epoch()
    average.train()
    assert model.layers[0].norm.training
    assert not average.layers[0].norm.training
    # a Freezer of the copy's own takes over
    Freezer(average, table(("layers.0",)), anatomy).start_epoch()
    assert average.train().layers[0].norm.training


def test_a_saved_model_comes_back_frozen(part):
    model = nn.Sequential(nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()), nn.Linear(2, 2))
    hold(model, part(model, "block", "0"))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    loaded.train()
    assert [m.training for m in loaded.modules()] == [True, False, False, False, True]
    assert vars(loaded[0])["train"].args[0] is loaded[0]


def test_replicas_of_data_parallel_are_frozen_too(part):
    model = nn.Sequential(nn.Sequential(nn.BatchNorm1d(2)), nn.Linear(2, 2))
    hold(model, part(model, "block", "0"))
    replica = model[0]._replicate_for_data_parallel()
    replica.train()
    assert not replica.training


def test_a_train_method_of_the_instance_is_put_back(part):
    model = nn.Sequential(nn.Sequential(nn.Dropout()))
    calls = []
    model[0].train = lambda mode=True: calls.append(mode)
    own = model[0].train
    frozen = part(model, "block", "0")
    hold(model, frozen)
    model.train()
    assert calls == [False]  # from the eval() on entering frozen mode
    release(model, frozen)
    assert model[0].train is own


def test_modules_that_act_on_eval_are_asked(part):
    class Merging(nn.Linear):
        merged = False

        def train(self, mode=True):
            self.merged = not mode
            return super().train(mode)

    model = nn.Sequential(Merging(2, 2))
    frozen = part(model, "block", "0")
    hold(model, frozen)
    assert model[0].merged
    release(model, frozen)
    assert not model[0].merged


def test_a_block_inside_a_frozen_one_can_train(part):
    model = nn.Sequential(nn.Sequential(nn.Dropout(), nn.Dropout()))
    outer = part(model, "outer", "0")
    outer = type(outer)("outer", (), (), ("0", "0.0"))
    hold(model, outer)
    model.train()
    assert [m.training for m in model.modules()] == [True, False, False, True]


def test_modules_that_train_themselves_are_overruled(part):
    class Stubborn(nn.Dropout):
        def train(self, mode=True):
            return super().train(True)

    model = nn.Sequential(nn.Sequential(Stubborn(), nn.BatchNorm1d(2)))
    frozen = part(model, "block", "0")
    hold(model, frozen)
    assert not model[0][0].training
    # some trainers set the flag past train(): the next epoch puts it right
    model[0][1].training = True
    hold(model, frozen)
    assert not model[0][1].training
