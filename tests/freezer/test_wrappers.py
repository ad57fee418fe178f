"""DataParallel, DistributedDataParallel and torch.compile are seen through, in any nesting."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from unfreeze import frozen_mode
from unfreeze.freezer import Freezer


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def compiled(model):
    return torch.compile(model, backend="aot_eager")


def ddp(model):
    return DistributedDataParallel(model, find_unused_parameters=True)


WRAPPERS = {
    "dp": nn.DataParallel,
    "ddp": ddp,
    "compile": compiled,
    "ddp(compile)": lambda model: ddp(compiled(model)),
    "compile(dp)": lambda model: compiled(nn.DataParallel(model)),
}


@pytest.mark.filterwarnings("ignore:.*find_unused_parameters.*")
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_model_thaws(net, anatomy, table, train, bits, same, wrap, one_process):
    model = net()
    wrapped = wrap(model)
    freezer = Freezer(wrapped, table((), ("layers.1",), ("layers.0", "layers.1")), anatomy)
    optimizer = torch.optim.SGD(freezer.param_groups(lr=0.1), momentum=0.9, weight_decay=0.1)
    freezer.attach(optimizer)
    for frozen in (("stem", "position", "layers"), ("stem", "position", "layers.0"), ("stem", "position")):
        freezer.start_epoch()
        before = bits(model, *frozen), bits(model, "layers.1.conv", "heads.verb")
        train(wrapped, optimizer, 2)
        assert same(before[0], bits(model, *frozen))
        assert not same(before[1], bits(model, "layers.1.conv", "heads.verb"))
        freezer.end_epoch()


def test_graphs_are_dropped_at_a_transition_and_only_then(net, anatomy, table, monkeypatch):
    resets = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    for wrap in (lambda model: model, compiled, lambda model: nn.DataParallel(compiled(model))):
        freezer = Freezer(wrap(net()), table((), ("layers.1",), ("layers.1",), ()), anatomy)
        for _ in range(4):
            freezer.start_epoch()
            freezer.end_epoch()
    assert len(resets) == 4  # a thaw and a re-freeze, for each of the two compiled ones


def test_compiling_in_place_or_inside_is_noticed(net):
    model = net()
    assert not frozen_mode.is_compiled(model)
    model.layers[1] = torch.compile(model.layers[1], backend="eager")
    assert frozen_mode.is_compiled(model)
    model = net()
    model.layers[0].compile(backend="eager")
    assert frozen_mode.is_compiled(nn.DataParallel(model))
