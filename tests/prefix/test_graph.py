"""The inference copy: the same function but for rounding, and a model that is left as it was."""

from __future__ import annotations

import copy
import inspect
import pickle
import shutil
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from unfreeze import frozen_mode
from unfreeze.anatomy import Anatomy, dissect
from unfreeze.models.micro import mvit_micro, r3d_micro
from unfreeze.prefix import Activations, FrozenPrefix, Layout
from unfreeze.prefix.graph import difference, inference_copy


def made_of(*leaves: Tensor) -> Activations:
    """Activations without a layout, which the difference does not look at."""
    return Activations(leaves, Layout(0, (), ()))


def shaken(model: nn.Module) -> nn.Module:
    """With BatchNorm statistics as after training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def micro() -> tuple[nn.Module, Anatomy]:
    torch.manual_seed(0)
    model = shaken(r3d_micro(3))
    return model, dissect(model)


def clips(rows: int = 2) -> Tensor:
    return torch.randn(rows, 3, 8, 48, 48, generator=torch.Generator().manual_seed(1))


def run(model: nn.Module, x: Tensor) -> Activations:
    with torch.no_grad():
        return made_of(model(x))


def norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm3d)]


MODELS = {
    "r3d_micro": ((8, 48, 48), "layer3.1"),
    "mvit_micro": ((8, 48, 48), "blocks.3"),
    "r3d_18": ((4, 32, 32), "layer3.1"),
    "mc3_18": ((4, 32, 32), "layer3.1"),
    "r2plus1d_18": ((4, 32, 32), "layer3.1"),
    "s3d": ((8, 32, 32), "features.6"),
    "swin3d_t": ((4, 32, 32), "features.2.1"),
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name in ("r3d_micro", "mvit_micro"):
        return shaken({"r3d_micro": r3d_micro, "mvit_micro": mvit_micro}[name](3))
    model = get_model(name, weights=None, num_classes=3)
    if name == "s3d":
        model.avgpool = nn.AdaptiveAvgPool3d(1)  # its own wants 224 x 224
    return shaken(model)


@pytest.mark.parametrize("name", MODELS)
def test_computes_the_same_but_for_rounding(name: str) -> None:
    model = build(name)
    anatomy = dissect(model)
    size, last = MODELS[name]
    boundary = [part.name for part in anatomy.blocks].index(last) + 1
    x = torch.randn(2, 3, *size)
    fast = inference_copy(model, anatomy, boundary)
    assert difference(run(model, x), run(fast, x)) < 2e-5
    frozen = {name for part in anatomy.blocks[:boundary] for name in part.modules}
    # all of them follow their convolutions in a chain
    assert norms(fast) == [name for name in norms(model) if name not in frozen]


def test_in_double_precision_the_difference_is_rounding() -> None:
    model, anatomy = micro()
    model.double()
    fast = inference_copy(model, anatomy, len(anatomy.blocks))
    x = clips().double()
    assert 0 < difference(run(model, x), run(fast, x)) < 1e-13


def test_under_autocast_the_difference_is_that_of_bfloat16() -> None:
    model, anatomy = micro()
    fast = inference_copy(model, anatomy, len(anatomy.blocks))
    with torch.autocast("cpu", torch.bfloat16):
        plain, other = run(model, clips()), run(fast, clips())
    assert plain.leaves[0].dtype == other.leaves[0].dtype
    assert difference(plain, other) < 5e-2


def snapshot(model: nn.Module) -> dict[str, Any]:
    return {
        "modules": [(name, id(module)) for name, module in model.named_modules()],
        "tensors": [(name, id(t), t.data_ptr(), t.stride(), t.requires_grad) for name, t in tensors(model)],
        "values": {name: t.clone() for name, t in tensors(model)},
        "modes": [module.training for module in model.modules()],
        "trains": [id(vars(module).get("train")) for module in model.modules()],
        "hooks": [(list(m._forward_hooks), list(m._forward_pre_hooks)) for m in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "random": torch.get_rng_state(),
    }


def tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_the_model_is_untouched(compiled: bool) -> None:
    model, anatomy = micro()
    model.train()
    for part in anatomy.blocks[:4]:
        frozen_mode.hold(model, part)
    model.layer1.register_forward_hook(lambda module, args, output: None)
    before = snapshot(model)
    fast = inference_copy(model, anatomy, 4, compiled=compiled, backend="eager")
    run(fast, clips())
    after = snapshot(model)
    values, there = before.pop("values"), after.pop("values")
    random, still = before.pop("random"), after.pop("random")
    assert before == after
    assert torch.equal(random, still)
    assert values.keys() == there.keys()
    assert all(torch.equal(values[name], there[name]) for name in values)


def storages(model: nn.Module, but: nn.Module) -> int:
    """Bytes of the model's tensors that are not also the other's."""
    theirs = {t.untyped_storage().data_ptr() for _, t in tensors(but)}
    mine = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for _, t in tensors(model)}
    return sum(size for pointer, size in mine.items() if pointer not in theirs)


@pytest.mark.parametrize("boundary", [1, 5, 9])
def test_only_the_frozen_blocks_take_memory(boundary: int) -> None:
    model, anatomy = micro()
    frozen = {name for part in anatomy.blocks[:boundary] for name in (*part.parameters, *part.buffers)}
    size = sum(t.untyped_storage().nbytes() for name, t in tensors(model) if name in frozen)
    extra = storages(inference_copy(model, anatomy, boundary), but=model)
    assert 0 < extra <= size
    fast = dict(tensors(inference_copy(model, anatomy, boundary)))
    for name, tensor in tensors(model):
        assert (fast.get(name) is tensor) == (name not in frozen)


def test_modules_are_its_own() -> None:
    model, anatomy = micro()
    fast = inference_copy(model, anatomy, 3)
    assert {id(m) for m in model.modules()}.isdisjoint(id(m) for m in fast.modules())
    assert [name for name, _ in fast.named_modules()] == [name for name, _ in model.named_modules()]


def test_is_in_evaluation_mode_without_gradients_where_frozen() -> None:
    model, anatomy = micro()
    model.train()
    fast = inference_copy(model, anatomy, 5)
    assert not any(module.training for module in fast.modules())
    frozen = [f"{part.name}." for part in anatomy.blocks[:5]]
    for name, parameter in fast.named_parameters():
        assert parameter.requires_grad == (not name.startswith(tuple(frozen)))
    assert all(p.requires_grad for p in model.parameters())


def test_follows_the_suffix_and_not_the_frozen_part() -> None:
    model, anatomy = micro()
    fast = inference_copy(model, anatomy, 6)
    optimizer = torch.optim.SGD(
        [
            p
            for part in (*anatomy.blocks[6:], *anatomy.heads)
            for p in map(model.get_parameter, part.parameters)
        ],
        lr=0.01,
    )
    before = run(model, clips())
    for part in anatomy.blocks[6:]:
        for name in part.roots:
            model.get_submodule(name).train()
    for _ in range(2):
        optimizer.zero_grad()
        model(clips()).square().sum().backward()
        optimizer.step()
    model.eval()
    after = run(model, clips())
    assert difference(before, after) > 1e-2
    assert difference(after, run(fast, clips())) < 2e-5

    still = run(fast, clips())
    with torch.no_grad():
        for name in anatomy.blocks[2].parameters:
            model.get_parameter(name).mul_(1.5)
        for name in anatomy.blocks[2].buffers:
            model.get_buffer(name).add_(1)
    assert difference(after, run(model, clips())) > 1e-2
    assert torch.equal(run(fast, clips()).leaves[0], still.leaves[0])
    assert difference(run(model, clips()), run(inference_copy(model, anatomy, 6), clips())) < 2e-5


def test_held_modes_are_let_go_and_stay_in_the_model() -> None:
    model, anatomy = micro()
    for part in anatomy.blocks[:6]:
        frozen_mode.hold(model, part)
    model.train()
    fast = inference_copy(model, anatomy, 6)
    assert not any("train" in vars(module) for module in fast.modules())
    assert not any(module.training for module in fast.modules())
    fast.train()
    assert all(module.training for module in fast.modules() if not isinstance(module, nn.Identity))
    held = [module for module in model.modules() if frozen_mode.is_held(module)]
    assert held
    assert not any(module.training for module in held)
    for part in anatomy.blocks[:6]:
        frozen_mode.release(model, part)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"]
)
def test_can_be_copied_and_pickled(compiled: bool, again: Any) -> None:
    model, anatomy = micro()
    fast = inference_copy(model, anatomy, 6, compiled=compiled, backend="eager")
    expected = run(fast, clips()).leaves[0]
    other = again(fast)
    assert torch.equal(run(other, clips()).leaves[0], expected)
    with torch.no_grad():
        fast.stem[0].weight.zero_()
    assert torch.equal(run(other, clips()).leaves[0], expected)


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "compile": lambda model: torch.compile(model, backend="eager"),
    "both": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_are_seen_through(wrap: Any) -> None:
    model, anatomy = micro()
    fast = inference_copy(wrap(model), anatomy, 6)
    assert type(fast) is type(model)
    assert torch.equal(
        run(fast, clips()).leaves[0], run(inference_copy(model, anatomy, 6), clips()).leaves[0]
    )


def test_a_module_compiled_in_place_is_copied_uncompiled() -> None:
    model, anatomy = micro()
    model.layer1[0].compile(backend="eager")
    run(model, clips())
    fast = inference_copy(model, anatomy, 6)
    assert fast.layer1[0]._compiled_call_impl is None
    assert model.layer1[0]._compiled_call_impl is not None


def test_channels_last_is_for_volumes_that_are_frozen() -> None:
    model, anatomy = micro()
    for channels_last in (True, False):
        fast = inference_copy(model, anatomy, 3, channels_last=channels_last)
        for name, module in fast.named_modules():
            if isinstance(module, nn.Conv3d):
                last = torch.empty_like(module.weight, memory_format=torch.channels_last_3d)
                # kernels of 1 x 1 x 1 too, in which nothing but the strides tells
                innermost = module.weight.stride() == last.stride()
                assert innermost == (channels_last and name.startswith(("stem", "layer1")))
    fast = inference_copy(model, anatomy, 4)
    pointwise = fast.layer2[0].downsample[0].weight
    assert pointwise.shape[2:] == (1, 1, 1)
    assert pointwise.stride() == (16, 1, 16, 16, 16)


def test_a_frozen_norm_before_a_trainable_block_stays_where_the_boundary_can_lie_between() -> None:
    model = shaken(
        nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, 1), nn.Flatten())
    )
    anatomy = dissect(model, blocks=["0", "1", "2"], heads=["3"])
    fast = inference_copy(model, anatomy, 2)
    x = torch.randn(2, 3, 4, 8, 8)
    assert isinstance(fast[1], nn.BatchNorm3d)
    assert difference(run(model, x), run(fast, x)) < 1e-5


class Recorder:
    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def hook(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.seen.append(output)

    def __deepcopy__(self, memo: dict[int, Any]) -> Recorder:
        raise AssertionError("what a hook belongs to is not copied")


def test_hooks_run_in_the_copy_and_their_owners_are_not_copied() -> None:
    model, anatomy = micro()
    recorder = Recorder()
    model.layer1.register_forward_hook(recorder.hook)
    model.layer2.register_forward_hook(lambda module, args, output: output * 2)
    fast = inference_copy(model, anatomy, 9)
    assert difference(run(model, clips()), run(fast, clips())) < 2e-5
    assert len(recorder.seen) == 2


def test_what_cannot_be_copied_is_an_error_that_says_so() -> None:
    model, anatomy = micro()
    model.lock = (number for number in range(3))
    with pytest.raises(
        ValueError, match="MicroR3D cannot be copied for inference: cannot pickle 'generator'"
    ):
        inference_copy(model, anatomy, 3)


@pytest.mark.parametrize("boundary", [-1, 0, 10])
def test_the_boundary_is_checked(boundary: int) -> None:
    model, anatomy = micro()
    with pytest.raises(ValueError, match=f"the boundary is 1 to 9, not {boundary}"):
        inference_copy(model, anatomy, boundary)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_each_root_is_compiled_by_itself(backend: str) -> None:
    torch._dynamo.reset()
    model, anatomy = micro()
    graphs: list[torch.fx.GraphModule] = []
    compiler = torch._dynamo.lookup_backend(backend)

    def counting(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return compiler(graph, inputs)

    fast = inference_copy(model, anatomy, 4, compiled=True, backend=counting)
    expected = FrozenPrefix(model, anatomy, 4, runner=inference_copy(model, anatomy, 4)).encode(clips())
    prefix = FrozenPrefix(model, anatomy, 4, runner=fast)
    assert difference(expected, prefix.encode(clips())) < 1e-6
    assert len(graphs) == 3  # the two blocks of layer1 are alike: one graph serves both
    prefix.encode(clips())
    assert len(graphs) == 3


@pytest.mark.skipif(
    "recompile_limit" not in inspect.signature(torch.compile).parameters,
    reason="this torch compiles a function eight times at most",
)
def test_every_block_is_compiled_though_there_are_many() -> None:
    torch._dynamo.reset()
    model, anatomy = micro()
    graphs: list[torch.fx.GraphModule] = []

    def counting(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    fast = inference_copy(model, anatomy, 9, compiled=True, backend=counting)
    prefix = FrozenPrefix(model, anatomy, 9, runner=fast)
    counts = []
    for rows in (3, 4, 5):  # for the second length it compiles once more, for any length
        prefix.encode(clips(rows))
        counts.append(len(graphs))
    assert counts == [counts[0], 2 * counts[0], 2 * counts[0]]


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiled_by_inductor() -> None:
    torch._dynamo.reset()
    model, anatomy = micro()
    fast = inference_copy(model, anatomy, 1, compiled=True)
    plain, other = (FrozenPrefix(model, anatomy, 1, runner=runner) for runner in (None, fast))
    expected = plain.encode(clips())
    assert difference(expected, other.encode(clips())) < 2e-5
    # it is inductor's code that ran, and not the module as it was
    assert torch._dynamo.utils.counters["inductor"]


# --- as the runner of a prefix ---


def order(leaf: Tensor) -> list[int]:
    """Strides, where they say anything."""
    return [step for step, size in zip(leaf.stride(), leaf.shape, strict=True) if size > 1]


def same_bits(a: Activations, b: Activations) -> bool:
    pairs = zip(a.leaves, b.leaves, strict=True)
    return all(torch.equal(x, y) and order(x) == order(y) for x, y in pairs)


@pytest.mark.parametrize("name", MODELS)
def test_activations_are_those_of_the_model_in_its_memory_order(name: str) -> None:
    model = build(name)
    anatomy = dissect(model)
    size, last = MODELS[name]
    names = [part.name for part in anatomy.blocks]
    micro_model = name.endswith("micro")
    boundaries = range(1, len(names) + 1) if micro_model else [names.index(last) + 1]
    x = torch.randn(3, 3, *size)
    for boundary in boundaries:
        fast = inference_copy(model, anatomy, boundary)
        plain = FrozenPrefix(model, anatomy, boundary)
        runner = FrozenPrefix(model, anatomy, boundary, runner=fast)
        expected, got = plain.encode(x), runner.encode(x)
        assert difference(expected, got) < 2e-5
        assert expected.layout == got.layout
        assert [order(leaf) for leaf in expected.leaves] == [order(leaf) for leaf in got.leaves]
        # a row has the same bits in any company, and by itself
        some = runner.encode(x[1:])
        alone = runner.encode(x[2:])
        for leaf, part, one in zip(got.leaves, some.leaves, alone.leaves, strict=True):
            assert torch.equal(leaf[1:], part)
            assert torch.equal(leaf[2:], one)
        with torch.no_grad():
            output, whole = runner.decode(got), model(x)
        assert (output - whole).abs().max() <= 1e-4 * whole.abs().max()


@pytest.mark.parametrize("cast", [False, True], ids=["float", "autocast"])
@pytest.mark.parametrize("name", ["r3d_micro", "mvit_micro", "s3d", "r2plus1d_18"])
def test_advancing_gives_the_bits_of_encoding(name: str, cast: bool) -> None:
    model = build(name)
    anatomy = dissect(model)
    size, last = MODELS[name]
    boundary = [part.name for part in anatomy.blocks].index(last) + 1
    fast = inference_copy(model, anatomy, boundary)
    upper = FrozenPrefix(model, anatomy, boundary, runner=fast)
    x = torch.randn(3, 3, *size)
    with torch.autocast("cpu", torch.bfloat16, enabled=cast):
        expected = upper.encode(x)
        for lower in range(1, boundary, 1 if name.endswith("micro") else 3):
            kept = FrozenPrefix(model, anatomy, lower, runner=fast).encode(x)
            assert same_bits(upper.advance(kept), expected)
            # a copy made for a lower boundary is the same function there
            other = FrozenPrefix(model, anatomy, lower, runner=inference_copy(model, anatomy, lower))
            assert same_bits(other.encode(x), kept)


DIFFERENCES = {
    "same": ([1.0, -2.0], [1.0, -2.0], 0.0),
    "relative to the largest": ([1.0, -4.0], [2.0, -4.0], 0.25),
    "nothing": ([], [], 0.0),
    "zeros": ([0.0, 0.0], [0.0, 0.0], 0.0),
    "not zero": ([0.0, 0.0], [0.0, 1.0], float("inf")),
    "not a number": ([1.0, 2.0], [1.0, float("nan")], float("inf")),
    "another shape": ([1.0], [1.0, 1.0], float("inf")),
    "same integers": ([1, 2], [1, 2], 0.0),
    "other integers": ([1, 2], [1, 3], float("inf")),
}


@pytest.mark.parametrize(("a", "b", "expected"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_difference(a: list[float], b: list[float], expected: float) -> None:
    assert difference(made_of(torch.tensor(a)), made_of(torch.tensor(b))) == expected


def test_difference_is_that_of_the_worst_leaf() -> None:
    small, large = torch.tensor([1.0]), torch.tensor([100.0])
    assert difference(made_of(large, small), made_of(large, small * 2)) == 1.0
    assert difference(made_of(large, small), made_of(large)) == float("inf")
    assert difference(made_of(), made_of()) == 0.0
