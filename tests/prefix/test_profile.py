"""What is measured of a model, and that the model does not notice."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from unfreeze import dissect
from unfreeze.frozen_mode import hold
from unfreeze.models import build_model
from unfreeze.prefix import profile as module
from unfreeze.prefix.profile import Profile, profile

CLIPS = torch.zeros(2, 3, 8, 48, 48)


@pytest.fixture(scope="module")
def micro():
    def make(name):
        return build_model(name, {"a": ["x", "y"]}, weights="none", log=lambda line: None)

    return make


class Clocked(nn.Module):
    """A linear layer that takes a known time on the clock of the test."""

    def __init__(self, clock, seconds, width=4):
        super().__init__()
        self.clock, self.seconds, self.linear = clock, seconds, nn.Linear(width, width)

    def forward(self, x):
        self.clock.time += self.seconds
        return self.linear(x)


class Clock:
    def __init__(self, monkeypatch):
        self.time = 100.0
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.time)


class Model(nn.Module):
    """Blocks of two roots, called twice, never called; glue between them, and a head."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.between = clock, 8
        self.embed, self.position = Clocked(clock, 1), Clocked(clock, 2)
        self.shared = Clocked(clock, 4)
        self.unused = Clocked(clock, 1000)
        self.many = nn.ModuleList([Clocked(clock, 16), Clocked(clock, 32)])
        self.fc = Clocked(clock, 64)

    def forward(self, x, scale=1.0):
        x = self.position(self.embed(x))
        self.clock.time += self.between
        x = self.shared(self.shared(x)) * scale
        for each in self.many:
            x = each(x)
        return {"logits": self.fc(x[:, None])}


def blocks_of(model):
    """Its anatomy, the first two roots in one block."""
    anatomy = dissect(model, heads=["fc"], blocks=["embed", "position", "shared", "unused", "many"])
    stem, position, *others = anatomy.blocks
    joined = type(stem)(
        "stem",
        stem.parameters + position.parameters,
        stem.buffers + position.buffers,
        stem.modules + position.modules,
    )
    assert joined.roots == ("embed", "position")
    return type(anatomy)(anatomy.heads, (joined, *others))


def test_seconds_of_roots_of_a_second_call_and_of_what_runs_between(monkeypatch):
    model = Model(Clock(monkeypatch))
    found = profile(model, blocks_of(model), torch.ones(2, 4), scale=2.0)
    # 1 + 2 · 8 between, twice 4 · never · 16 + 32 · the head; two rows
    assert found.seconds == (3 / 2, 16 / 2, 0.0, 48 / 2, 64 / 2)
    linear = 2 * 4 * 4
    assert found.flops == (2 * linear, 2 * linear, 0, 2 * linear)
    assert found.nbytes == (0, 16, 16, 16, 16)


def test_the_fastest_pass_counts_block_by_block(monkeypatch):
    model = Model(Clock(monkeypatch))
    anatomy = blocks_of(model)
    model.between = 0
    for each in (model.embed, model.position, model.shared, *model.many, model.fc):
        each.seconds /= 1000
    slow = iter([9, 9])  # of counting and of a pass that is timed and leaves no time for another
    model.register_forward_pre_hook(lambda *_: setattr(model.embed, "seconds", next(slow)))
    found = profile(model, anatomy, torch.ones(1, 4))
    assert found.seconds[0] == pytest.approx(9.002)
    slow = iter([0.3, 0.2, 0.1])
    found = profile(model, anatomy, torch.ones(1, 4))
    assert found.seconds[0] == pytest.approx(0.102)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.attend = nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.attend(self.encoder(x))
        return self.head(F.scaled_dot_product_attention(x, x, x)[:, 0])


def test_attention_counts_whatever_kernel_would_run_it():
    model = Attending()
    found = profile(model, dissect(model, heads=["head"], blocks=["encoder", "attend"]), torch.ones(3, 5, 8))
    tokens, width = 5, 8
    attention = 2 * 2 * tokens * tokens * width
    encoder = 2 * tokens * width * (4 * width + 2 * 16) + attention
    assert found.flops == (encoder, 2 * tokens * width * width)
    assert torch.backends.mha.get_fastpath_enabled()


R3D_18 = {
    "flops": [2.83, 22.2, 22.2, 8.43, 11.1, 4.21, 5.55, 2.11, 2.78],
    "megabytes": [6.42, 6.42, 6.42, 1.61, 1.61, 0.40, 0.40, 0.10],
}
MVIT_V2_S = {
    "flops": [2.12, 9.58, 15.6, 7.57, 11.8, *[6.58] * 10, 9.94, 6.10],
    "megabytes": [4.82, 4.82, 2.41, 2.41, *[1.20] * 11, 0.60],
}


@pytest.mark.parametrize(
    ("name", "side", "expected"), [("r3d_18", 112, R3D_18), ("mvit_v2_s", 224, MVIT_V2_S)]
)
def test_real_models_against_a_published_table(name, side, expected):
    """On the meta device, where nothing is computed. The table has bfloat16, half of what is counted here."""
    with torch.device("meta"):
        model = torchvision.models.get_model(name)
        found = profile(model, dissect(model), torch.zeros(2, 3, 16, side, side))
    assert [count / 1e9 for count in found.flops] == pytest.approx(expected["flops"], rel=0.01, abs=0.005)
    behind = [size / 2e6 for size in found.nbytes[1:-1]]
    assert behind == pytest.approx(expected["megabytes"], rel=0.01, abs=0.005)


@pytest.mark.parametrize("name", ["r3d_micro", "mvit_micro"])
def test_views_are_rows(micro, name):
    model = micro(name)
    anatomy = dissect(model)
    one = profile(model, anatomy, CLIPS)
    views = CLIPS[None].expand(2, -1, -1, -1, -1, -1)
    mask = torch.tensor([[True, True], [True, False]])
    for each in (profile(model, anatomy, views), profile(model, anatomy, views, view_mask=mask)):
        assert each.flops == one.flops
        assert each.nbytes == one.nbytes
    assert all(seconds > 0 for seconds in one.seconds[:-1])
    feature = next(iter(model.heads.values())).in_features
    assert one.nbytes[-1] == 4 * feature
    assert one.forward(0, one.blocks) + one.behind(one.blocks) == pytest.approx(sum(one.seconds))


def test_autocast_shows_in_bytes_and_leaves_nothing_behind(micro):
    model = micro("r3d_micro")
    plain = profile(model, dissect(model), CLIPS)
    with torch.autocast("cpu", torch.bfloat16):
        half = profile(model, dissect(model), CLIPS)
        loss = model(CLIPS)["a"].float().sum()
    assert half.nbytes[1] * 2 == plain.nbytes[1]
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "compile": lambda model: torch.compile(model, backend="eager"),
    "compiled inside": lambda model: (model.layer1.compile(backend="eager"), model)[1],
}


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.layer1 = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(self.layer1(self.stem(x))) + torch.rand(())


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_are_seen_through(name):
    plain = Small()
    expected = profile(plain, dissect(plain), torch.ones(3, 4))
    model = WRAPPERS[name](Small())
    found = profile(model, dissect(model), torch.ones(3, 4))
    assert (found.flops, found.nbytes) == (expected.flops, expected.nbytes)
    assert found.flops == (2 * 4 * 8, 2 * 8 * 8)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_does_not_notice(fails):
    model = Small().train()
    anatomy = dissect(model)
    hold(model, anatomy.blocks[0])
    model.layer1.eval()
    if fails:
        model.fc.register_forward_pre_hook(lambda *_: 1 / 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [each.training for each in model.modules()]
    held = vars(model.stem)["train"]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    state = torch.get_rng_state()
    try:
        profile(model, anatomy, torch.ones(3, 4))
    except ZeroDivisionError:
        assert fails
    assert [each.training for each in model.modules()] == modes
    assert vars(model.stem)["train"] is held
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] == hooks
    assert all("forward" not in vars(each) for each in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()


def test_without_inputs_there_is_nothing_to_measure():
    model = Small()
    with pytest.raises(ValueError, match="a profile needs the model's inputs"):
        profile(model, dissect(model))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(micro):
    model = micro("r3d_micro").cuda()
    state = torch.cuda.get_rng_state()
    found = profile(model, dissect(model), CLIPS.cuda())
    assert isinstance(found, Profile)
    assert all(seconds > 0 for seconds in found.seconds[:-1])
    assert torch.equal(torch.cuda.get_rng_state(), state)
