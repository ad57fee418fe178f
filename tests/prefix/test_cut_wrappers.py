"""Through DataParallel, DistributedDataParallel and torch.compile, in any nesting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from unfreeze.anatomy import dissect
from unfreeze.prefix import FrozenPrefix, placeholder


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4)

    def forward(self, x, scale):
        return torch.relu(self.norm(self.conv(x))) * scale, scale + 1


class Net(nn.Module):
    """Blocks that hand on a constant beside the tensor, as MViT's do."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(2, 4, 1)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x, scale = self.stem(x), 1
        for block in self.blocks:
            x, scale = block(x, scale)
        return {"logits": self.fc(x.mean((2, 3, 4)))}


class Outer(nn.Module):
    """A wrapper of the user's own, with a compiled backbone inside."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture(autouse=True)
def fresh_graphs():
    torch.compiler.reset()


def ddp(model):
    return DistributedDataParallel(model, find_unused_parameters=True)


def compiled(model, backend="eager"):
    return torch.compile(model, backend=backend)


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


def compiled_inside(model):
    return Outer(compiled(model))


def compiled_block(index, in_place):
    def wrap(model):
        if in_place:
            model.blocks[index].compile(backend="eager")
        else:
            model.blocks[index] = compiled(model.blocks[index])
        return model

    return wrap


WRAPPERS = {
    "none": lambda model: model,
    "dp": nn.DataParallel,
    "ddp": ddp,
    "compile eager": compiled,
    "compile aot_eager": lambda model: compiled(model, "aot_eager"),
    "compile in place": compiled_in_place,
    "compile inside": compiled_inside,
    "frozen block": compiled_block(0, False),
    "frozen block in place": compiled_block(0, True),
    "last frozen block": compiled_block(1, False),
    "last frozen block in place": compiled_block(1, True),
    "trained block": compiled_block(2, False),
    "ddp(compile)": lambda model: ddp(compiled(model)),
    "compile(ddp)": lambda model: compiled(ddp(model)),
    "compile(dp)": lambda model: compiled(nn.DataParallel(model)),
    "dp(ddp(compile))": lambda model: nn.DataParallel(ddp(compiled(model))),
}


@pytest.mark.filterwarnings("ignore:.*find_unused_parameters.*")
@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")  # how DDP sends buffers
@pytest.mark.parametrize("name", WRAPPERS)
def test_training_is_the_same_as_with_the_whole_model(name, freeze, same, one_process):
    models = [Net(), Net()]
    models[1].load_state_dict(models[0].state_dict())
    halves, whole = WRAPPERS[name](models[0]), WRAPPERS[name](models[1])
    clips = torch.randn(6, 2, 2, 4, 4)
    optimizers = [torch.optim.SGD(model.parameters(), 0.1, momentum=0.9) for model in (halves, whole)]
    inside = "net." if name == "compile inside" else ""
    blocks = [f"{inside}stem", f"{inside}blocks.*"]
    anatomy = freeze(halves, 3, dissect(halves, heads=[f"{inside}fc"], blocks=blocks))
    freeze(whole, 3, anatomy)
    prefix = FrozenPrefix(halves, anatomy, 3)
    layout = prefix.prove(clips)
    rows = prefix.encode(clips).leaves[0]
    for chosen in ([0, 1, 2, 3], [5, 3, 1, 0], [4, 2, 1], [2, 1, 5, 4]):
        halves.train()
        whole.train()
        there = prefix.activations(layout, [rows[chosen]], placeholder((len(chosen), *clips.shape[1:])))
        outputs = prefix.decode(there), whole(clips[chosen])
        assert same(*outputs)
        for output, optimizer in zip(outputs, optimizers, strict=True):
            optimizer.zero_grad()
            output["logits"].square().sum().backward()
            optimizer.step()
        assert same(list(models[0].state_dict().values()), list(models[1].state_dict().values()))
    assert not prefix._eager
    halves.eval()
    whole.eval()
    # and the model itself still does what it did
    assert same(halves(clips), whole(clips))
    with torch.no_grad():
        assert same(prefix.decode(prefix.encode(clips)), whole(clips))


def test_what_cannot_be_compiled_runs_uncompiled_and_says_so(freeze, same):
    def backend(graph, inputs):
        raise NotImplementedError("no such thing here")

    model = Net().eval()
    anatomy = freeze(model, 2)
    clips = torch.randn(3, 2, 2, 4, 4)
    prefix = FrozenPrefix(torch.compile(model, backend=backend), anatomy, 2)
    prefix.prove(clips)
    there = prefix.encode(clips)
    with pytest.warns(RuntimeWarning, match=r"what follows blocks.0 runs uncompiled, as torch.compile fails"):
        output = prefix.decode(there)
    assert same(output, model(clips))
    assert same(prefix.decode(there), output)  # without another word


def test_errors_of_a_compiled_model_are_its_own(freeze):
    class Fails(Net):
        def forward(self, x):
            super().forward(x)
            raise LookupError("mine")

    model = Fails().eval()
    anatomy = freeze(model, 2)
    prefix = FrozenPrefix(compiled(model), anatomy, 2)
    good = Net()
    there = FrozenPrefix(good, dissect(good), 2).encode(torch.randn(3, 2, 2, 4, 4))
    with pytest.raises(LookupError, match="mine"):
        prefix.decode(there)


def test_several_devices_of_dataparallel_are_left_alone(freeze, same):
    model = Net().eval()
    wrapped = nn.DataParallel(model)
    wrapped.device_ids = [0, 1]  # as on a machine with two GPUs
    prefix = FrozenPrefix(wrapped, freeze(model, 2), 2)
    clips = torch.randn(3, 2, 2, 4, 4)
    prefix.prove(clips)
    assert same(prefix.decode(prefix.encode(clips)), model(clips))


TWO = """
import importlib.util, sys, warnings
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from unfreeze.anatomy import dissect
from unfreeze.frozen_mode import hold
from unfreeze.prefix import FrozenPrefix

file, store, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
spec = importlib.util.spec_from_file_location("wrappers", file)
wrappers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(wrappers)
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
torch.manual_seed(0)
models = [wrappers.Net(), wrappers.Net()]
models[1].load_state_dict(models[0].state_dict())
wrapped = [DistributedDataParallel(model, find_unused_parameters=True) for model in models]
for model in models:
    for part in dissect(model).blocks[:3]:
        hold(model, part)
        for name in part.parameters:
            model.get_parameter(name).requires_grad_(False)
optimizers = [torch.optim.SGD(model.parameters(), 0.1) for model in wrapped]
torch.manual_seed(rank)
clips = torch.randn(4, 2, 2, 4, 4)
prefix = FrozenPrefix(wrapped[0], boundary=3)
prefix.prove(clips)
kept = prefix.encode(clips)
for step in range(3):
    for model, decode, optimizer in zip(
        wrapped, (lambda: prefix.decode(kept), lambda: wrapped[1](clips)), optimizers
    ):
        model.train()
        optimizer.zero_grad()
        decode()["logits"].square().sum().backward()
        optimizer.step()
for (name, one), other in zip(models[0].state_dict().items(), models[1].state_dict().values()):
    assert torch.equal(one, other), name
weight = models[0].fc.weight.detach()
both = [torch.empty_like(weight) for _ in range(2)]
dist.all_gather(both, weight)
assert torch.equal(*both), "ranks differ"
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes_stay_equal(tmp_path):
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(Path(__file__)), str(tmp_path / "store"), str(rank)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [rank.communicate(timeout=300)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors
