"""Models that cannot be cut at a boundary say which block and why, in one line."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from unfreeze.anatomy import Anatomy, Part, dissect
from unfreeze.prefix import Activations, CutError, FrozenPrefix, placeholder


def part(model, *names):
    """A block that is these modules."""
    modules = [n for n, _ in model.named_modules() if any(f"{n}.".startswith(f"{name}.") for name in names)]
    parameters = [n for n, _ in model.named_parameters() if n.rpartition(".")[0] in modules]
    buffers = [n for n, _ in model.named_buffers() if n.rpartition(".")[0] in modules]
    return Part(names[0], tuple(parameters), tuple(buffers), tuple(modules))


def anatomy(model, *blocks):
    return Anatomy((part(model, "fc"),), tuple(part(model, *block.split()) for block in blocks))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (nn.Conv3d(2, 2, 1) for _ in range(3))
        self.fc = nn.Linear(2, 2)

    def head(self, x):
        return self.fc(x.mean((2, 3, 4)))


class Skip(Net):
    """A U-Net in small: what the first block made is used by the last."""

    def forward(self, x):
        first = self.one(x)
        return self.head(self.three(self.two(first) + first))


class InputAgain(Net):
    def forward(self, x):
        return self.head(self.three(self.two(self.one(x))) + x)


class Mask(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(2, 2, 1)

    def forward(self, x):
        return self.conv(x), x.mean((1, 2, 3, 4)) > -1e9  # True for every clip


class TruthValues(Net):
    """A skip connection of truth values, which cannot be NaN."""

    def __init__(self):
        super().__init__()
        self.one = Mask()

    def forward(self, x):
        x, mask = self.one(x)
        return self.head(self.three(self.two(x)) * mask[:, None, None, None, None])


class Late(Net):
    def forward(self, x):
        return self.head(self.one(self.three(self.two(x))))


class Shared(Net):
    def forward(self, x):
        return self.head(self.one(self.three(self.two(self.one(x)))))


class Never(Net):
    def forward(self, x):
        return self.head(self.three(self.one(x)))


class BatchStatistics(Net):
    def forward(self, x):
        x = self.one(x)
        return self.head(self.three(self.two(x - x.mean(0, keepdim=True))))


class Wraps(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.conv, self.what = nn.Conv3d(2, 2, 1), what

    def forward(self, x):
        return self.what(self.conv(x))


class Returns(Net):
    """The second block returns something, of which the third takes ``x``."""

    def __init__(self, what, of=lambda value: value[0]):
        super().__init__()
        self.two, self.of = Wraps(what), of

    def forward(self, x):
        return self.head(self.three(self.of(self.two(self.one(x)))))


class Thing:
    def __init__(self, x):
        self.x = x


class Grows(Net):
    """Something else runs in another batch."""

    def forward(self, x):
        for _ in range(len(x)):
            x = self.two(self.one(x))
        return self.head(self.three(x))


class Noise(Net):
    def forward(self, x):
        return self.head(self.three(self.two(self.one(x)) + torch.rand(())))


class InPlace(Net):
    def forward(self, x):
        x = self.one(x)
        x += 1
        return self.head(self.three(self.two(x)))


CANNOT = {
    "skip": (Skip(), 2, "behind two: behind it, the model still uses one"),
    "input": (InputAgain(), 2, "behind two: behind it, the model still uses its input"),
    "truth values": (TruthValues(), 2, "behind two: behind it, the model still uses one"),
    "late": (Late(), 1, "behind one: one is frozen, but runs after two, which trains"),
    "shared": (Shared(), 2, "behind two: one is frozen, but runs after three, which trains"),
    "never": (Never(), 2, "behind two: two is frozen, but never runs"),
    "batch statistics": (
        BatchStatistics(),
        2,
        "behind two: what the frozen blocks make of a clip depends on the others in its batch",
    ),
    "no tensor": (Returns(lambda x: Thing(x), lambda value: value.x), 2, "behind two: two returns no tensor"),
    "an object": (
        Returns(lambda x: (x, Thing(x))),
        2,
        "behind two: two returns a Thing, which cannot be kept",
    ),
    "no batch dimension": (
        Returns(lambda x: (x, x.mean(0))),
        2,
        r"behind two: a tensor of shape \(2, 2, 4, 4\) crosses the boundary, in which no single dimension",
    ),
    "a constant of the batch": (
        Returns(lambda x: (x, str(len(x)))),
        2,
        "behind two: what two returns depends on the length of the batch",
    ),
    "grows": (Grows(), 2, "behind two: one is frozen, but runs again behind it"),
    "in place": (InPlace(), 2, "behind two: RuntimeError: unsupported operation"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_it_says_why(name):
    model, boundary, message = CANNOT[name]
    prefix = FrozenPrefix(model, anatomy(model, "one", "two", "three"), boundary)
    with pytest.raises(CutError, match=f"^cannot cut {message}") as caught:
        prefix.prove(torch.randn(3, 2, 2, 4, 4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "boundary"), [(Skip(), 1), (Skip(), 3), (InputAgain(), 3), (InPlace(), 1), (Noise(), 2)]
)
def test_elsewhere_the_same_can_be_cut(model, boundary):
    if isinstance(model, InputAgain):
        with pytest.raises(CutError, match="still uses its input"):
            FrozenPrefix(model, anatomy(model, "one", "two", "three"), boundary).prove(
                torch.randn(2, 2, 1, 1, 1)
            )
    else:
        FrozenPrefix(model, anatomy(model, "one", "two", "three"), boundary).prove(torch.randn(2, 2, 2, 4, 4))


class Activated(Net):
    """One activation function between all blocks; dropout in its place would be noise among the frozen."""

    def __init__(self, between):
        super().__init__()
        self.between = between

    def forward(self, x):
        return self.head(self.between(self.three(self.between(self.two(self.between(self.one(x)))))))


def test_what_has_no_state_may_run_on_both_sides():
    clips = torch.randn(3, 2, 2, 4, 4)
    for owner in ("one between", "three between"):
        model = Activated(nn.ReLU())
        blocks = [owner if owner.startswith(name) else name for name in ("one", "two", "three")]
        for boundary in (1, 2, 3):
            FrozenPrefix(model, anatomy(model, *blocks), boundary).prove(clips)
    model = Activated(nn.Dropout(0.5))
    FrozenPrefix(model, anatomy(model, "one between", "two", "three"), 1).prove(clips)
    with pytest.raises(CutError, match="two is frozen, but runs after between, which trains"):
        FrozenPrefix(model, anatomy(model, "one", "two", "three between"), 2).prove(clips)


def test_a_block_whose_container_is_never_called():
    class Parts(Net):
        def __init__(self):
            super().__init__()
            self.two = nn.ModuleDict({"a": nn.Conv3d(2, 2, 1), "b": nn.Conv3d(2, 2, 1)})
            self.tokens = nn.ParameterList([nn.Parameter(torch.ones(2, 1, 1, 1))])

        def forward(self, x):
            x = self.one(x) + self.tokens[0]
            return self.head(self.three(self.two["b"](self.two["a"](x))))

    model = Parts()
    for boundary in (1, 2, 3):
        FrozenPrefix(model, anatomy(model, "one tokens", "two", "three"), boundary).prove(
            torch.randn(2, 2, 2, 4, 4)
        )


@pytest.mark.parametrize("boundary", [0, 4, -1])
def test_a_boundary_outside_the_model(boundary):
    model = Never()
    with pytest.raises(ValueError, match="a boundary is between 1 and 3 blocks"):
        FrozenPrefix(model, anatomy(model, "one", "two", "three"), boundary)


def test_wrong_activations_are_refused():
    model = Skip()
    blocks = anatomy(model, "one", "two", "three")
    clips = torch.randn(3, 2, 2, 4, 4)
    low, high = FrozenPrefix(model, blocks, 1), FrozenPrefix(model, blocks, 3)
    there = low.encode(clips)
    assert low.advance(there) is there
    with pytest.raises(ValueError, match=r"of boundary 1 cannot be decoded at 3: advance\(\)"):
        high.decode(there)
    with pytest.raises(ValueError, match="activations of boundary 3 are behind one, which is 1"):
        low.advance(high.encode(clips))
    with pytest.raises(ValueError, match=r"a row of the activation is \(2, 2, 4, 4\), not \(2, 2, 4, 5\)"):
        low.activations(there.layout, [torch.zeros(3, 2, 2, 4, 5)], clips)
    with pytest.raises(ValueError, match="at least 2 items, not 1"):
        low.prove(clips[:1])
    with pytest.raises(ValueError, match="no tensor with a batch dimension"):
        low.encode(3)


def test_kept_rows_in_fewer_bits_come_back_in_the_dtype_of_the_model():
    model = Skip()
    prefix = FrozenPrefix(model, anatomy(model, "one", "two", "three"), 1)
    there = prefix.encode(torch.randn(3, 2, 2, 4, 4))
    back = prefix.activations(there.layout, [there.leaves[0].bfloat16()], placeholder((3, 2, 2, 4, 4)))
    assert back.leaves[0].dtype is torch.float32
    torch.testing.assert_close(back.leaves, there.leaves, rtol=1e-2, atol=1e-2)


def test_a_model_that_fails_by_itself_says_so_itself():
    model = Skip()
    prefix = FrozenPrefix(model, anatomy(model, "one", "two", "three"), 1)
    for run in (prefix.prove, prefix.encode):
        with pytest.raises(RuntimeError, match="expected input"):
            run(torch.randn(3, 5, 2, 4, 4))


def test_a_frozen_module_that_runs_behind_the_boundary_after_all():
    """What the proof has not seen, as other inputs lead elsewhere, is noticed when it happens."""

    class Sometimes(Net):
        again = False

        def forward(self, x):
            x = self.three(self.two(self.one(x)))
            return self.head(self.one(x) if self.again else x)

    model = Sometimes()
    prefix = FrozenPrefix(model, anatomy(model, "one", "two", "three"), 2)
    clips = torch.randn(3, 2, 2, 4, 4)
    prefix.prove(clips)
    model.again = True
    with pytest.raises(CutError, match="one is frozen, but runs again behind it"):
        prefix.decode(prefix.encode(clips))


def test_other_inputs_of_the_same_shape_that_lead_elsewhere():
    class Chosen(Net):
        wide = False

        def forward(self, x):
            return self.head(self.three(self.two(self.one(x[..., ::2] if self.wide else x))))

    model = Chosen()
    prefix = FrozenPrefix(model, anatomy(model, "one", "two", "three"), 2)
    clips = torch.randn(3, 2, 2, 4, 4)
    prefix.prove(clips)
    model.wide = True
    with pytest.raises(CutError, match="two returns something else for other inputs of the same shape"):
        prefix.encode(clips)


def test_layouts_and_activations_are_plain_data():
    model = Skip()
    prefix = FrozenPrefix(model, dissect(model), 1)
    there = prefix.encode(torch.randn(3, 2, 2, 4, 4))
    assert [field.name for field in dataclasses.fields(Activations)][:2] == ["leaves", "layout"]
    assert hash(there.layout) == hash(dataclasses.replace(there.layout))
    assert there.args[0].untyped_storage().nbytes() == 4  # the input has gone
    assert not there.leaves[0].requires_grad
    assert prefix.block == "one"
