"""Both halves of a model are the whole, bit for bit: a table of models, and a plain reference in lockstep."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.video.mvit import MSBlockConfig, MViT

from unfreeze.models import build_model
from unfreeze.prefix import FrozenPrefix, Leaf, placeholder
from unfreeze.prefix.activations import memory_order

TASKS = {"action": ["a", "b", "c"], "side": ["left", "right"]}


def micro(name, **options):
    return lambda: build_model(name, TASKS, weights="none", log=lambda line: None, **options)


def small_mvit():
    """mvit_v2_s in three narrow blocks: class token, relative positions and pooling as there."""
    settings = [
        MSBlockConfig(
            num_heads=1 + at,
            input_channels=16 * max(at, 1),
            output_channels=16 * (at + 1),
            kernel_q=[3, 3, 3],
            kernel_kv=[3, 3, 3],
            stride_q=[1, 1 + at % 2, 1 + at % 2],
            stride_kv=[1, 2, 2],
        )
        for at in range(3)
    ]
    return MViT(
        (32, 32),
        4,
        settings,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        num_classes=5,
    )


def s3d():
    model = torchvision.models.get_model("s3d", weights=None)
    model.avgpool = nn.AdaptiveAvgPool3d(1)  # its own asks for 224 x 224
    return model


def transformer(kind):
    def build():
        transformers = pytest.importorskip("transformers")
        config = getattr(transformers, f"{kind}Config")(
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=16,
            num_frames=4,
        )
        return getattr(transformers, f"{kind}ForVideoClassification")(config)

    return build


def timm_vit():
    timm = pytest.importorskip("timm")
    return timm.create_model("vit_tiny_patch16_224", img_size=32, depth=3, num_classes=5)


class DictBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv3d(width, width, 1)
        self.norm = nn.BatchNorm3d(width)

    def forward(self, state):
        x = torch.tanh(self.norm(self.conv(state["x"])))
        return {"x": x, "sums": (state["sums"] + x.sum((1, 2, 3, 4)), 7), "length": len(x), "none": None}


class DictNet(nn.Module):
    """Blocks that return dicts: a tensor, a tensor in a tuple, a constant and the length of the batch."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(3, 4, 1)
        self.blocks = nn.ModuleList(DictBlock(4) for _ in range(3))
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.stem(x)
        state = {"x": x, "sums": x.new_zeros(len(x))}
        for block in self.blocks:
            state = block(state)
            assert state["length"] == len(x)
            state["sums"] = state["sums"][0]
        return self.fc(torch.cat([state["x"].mean((2, 3, 4)), state["sums"][:, None]], 1))


class SequenceFirst(nn.Module):
    """A transformer that puts time before the batch, as nn.TransformerEncoderLayer does by default."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(3, 32, 4, 4)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(32, 2, 64, dropout=0.1) for _ in range(3))
        self.fc = nn.Linear(32, 2)

    def forward(self, x):
        x = self.stem(x).flatten(2).permute(2, 0, 1)
        for layer in self.layers:
            x = layer(x)
        return self.fc(x.mean(0))


class Overwriting(nn.Module):
    """The first thing behind each block writes to what the block has returned."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.ReLU(inplace=True), nn.Conv3d(3, 3, 1)) for _ in range(3))
        )
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(self.blocks(x + 0).relu_().mean((2, 3, 4)))


class FrameByFrame(nn.Module):
    """An image network on frames, and a mean over time: a row is a frame."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, 3, 2), nn.Conv2d(4, 4, 3, 2))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        frames = x.transpose(1, 2).flatten(0, 1)
        return self.fc(self.backbone(frames).mean((2, 3)).unflatten(0, (len(x), -1)).mean(1))


class TwoRates(nn.Module):
    """Two clips of unequal length through one stem, which so runs twice, then together."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(3, 4, 1)
        self.blocks = nn.ModuleList(nn.Conv3d(4, 4, 1) for _ in range(2))
        self.fc = nn.Linear(4, 2)

    def forward(self, clips):
        slow, fast = (self.stem(clip) for clip in clips)
        x = slow + fast.mean(2, keepdim=True)
        for block in self.blocks:
            x = block(x)
        return {"logits": self.fc(x.mean((2, 3, 4))), "feature": x}


def clips(*shape):
    return lambda: ((torch.randn(*shape),), {})


def views(mask=None):
    kwargs = {} if mask is None else {"view_mask": torch.tensor(mask, dtype=torch.bool)}
    return lambda: ((torch.randn(3, 2, 3, 4, 24, 24),), kwargs)


def two_rates():
    return ([torch.randn(3, 3, 2, 8, 8), torch.randn(3, 3, 8, 8, 8)],), {}


EVERY = range(1, 100)
MODELS = {
    "r3d_micro": (micro("r3d_micro"), clips(3, 3, 4, 24, 24), EVERY),
    "mvit_micro": (micro("mvit_micro"), clips(3, 3, 8, 48, 48), EVERY),
    "r3d_18": (lambda: torchvision.models.video.r3d_18(num_classes=3), clips(2, 3, 4, 16, 16), (5, 9)),
    "mvit": (small_mvit, clips(3, 3, 4, 32, 32), EVERY),
    "swin3d_t": (
        lambda: torchvision.models.get_model("swin3d_t", weights=None),
        clips(2, 3, 4, 32, 32),
        (4, 13),
    ),
    "s3d": (s3d, clips(2, 3, 8, 32, 32), (8, 12)),
    "VideoMAE": (transformer("VideoMAE"), clips(3, 4, 3, 32, 32), EVERY),
    "timm": (timm_vit, clips(3, 3, 32, 32), EVERY),
    "dicts": (DictNet, clips(3, 3, 2, 4, 4), EVERY),
    "sequence first": (SequenceFirst, clips(3, 3, 8, 16, 16), EVERY),
    "overwriting": (Overwriting, clips(3, 3, 2, 4, 4), EVERY),
    "frame by frame": (FrameByFrame, clips(3, 3, 4, 24, 24), EVERY),
    "two rates": (TwoRates, two_rates, (2, 3)),
    "views": (micro("r3d_micro"), views(), (5, 9)),
    "padded views": (
        micro("r3d_micro", views="attention"),
        views([[1, 1], [0, 1], [1, 0]]),
        (1, 9),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_both_halves_are_the_whole(name, freeze, reference, same):
    build, inputs, boundaries = MODELS[name]
    model = build().eval()
    args, kwargs = inputs()
    anatomy = freeze(model, 0)
    lower = None
    for boundary in [at for at in boundaries if at <= len(anatomy.blocks)]:
        freeze(model, boundary, anatomy)
        whole = reference.WholeModel(model)
        prefix = FrozenPrefix(model, anatomy, boundary)
        layout = prefix.prove(*args, **kwargs)
        activations = prefix.encode(*args, **kwargs)
        kept = copy.deepcopy(activations.leaves)
        for _ in range(2):  # the first time, it is seen whether the model writes to the activation
            output = prefix.decode(activations)
            assert same(output, whole.decode(whole.encode(*args, **kwargs)))
            assert same(reference.gradients(model, output), whole.gradients(*args, **kwargs))
            assert same(activations.leaves, kept)
        assert activations.layout == layout == pickle.loads(pickle.dumps(layout))
        assert layout.row_bytes * activations.rows == sum(leaf.nbytes for leaf in activations.leaves)
        if lower is not None:
            fresh = FrozenPrefix(model, anatomy, boundary)
            for each in (prefix, fresh):
                there = each.advance(lower)
                assert same(there.leaves, activations.leaves)
                assert there.layout == layout
                assert same(each.decode(there), output)
        lower = activations if lower is None or boundary % 2 else lower


@pytest.mark.parametrize("name", ["r3d_micro", "mvit_micro", "mvit", "timm"])
def test_a_row_does_not_depend_on_its_batch(name, freeze, same):
    build, inputs, _ = MODELS[name]
    model = build().eval()
    anatomy = freeze(model, 3)
    (few,), _ = inputs()
    clips = torch.cat([few, inputs()[0][0]])
    prefix, higher = (FrozenPrefix(model, anatomy, at) for at in (2, 3))
    all_of_them = prefix.encode(clips)
    for chosen in ([0, 1], [5, 3, 1], [4], [2, 2, 0, 5, 1]):
        for whole, part in (
            (all_of_them, prefix.encode(clips[chosen])),
            (higher.advance(all_of_them), higher.encode(clips[chosen])),
            (higher.encode(clips), higher.advance(prefix.encode(clips[chosen]))),
        ):
            assert same([leaf[chosen] for leaf in whole.leaves], list(part.leaves))


@pytest.mark.parametrize("name", ["r3d_micro", "mvit_micro", "dicts", "sequence first", "timm"])
@pytest.mark.parametrize("physical", [False, True], ids=["as the model", "as in memory"])
def test_rows_from_a_cache_make_a_batch_of_any_length(name, physical, freeze, same):
    build, inputs, _ = MODELS[name]
    model = build().eval()
    (few,), _ = inputs()
    prefix = FrozenPrefix(model, freeze(model, 3), 3)
    encoded = prefix.encode(few)
    layout = pickle.loads(pickle.dumps(encoded.layout))  # as another process reads it
    for chosen in ([2, 0], [1, 0, 2, 1, 1]):
        rows = [leaf[chosen].contiguous() for leaf in encoded.leaves]
        if physical:
            rows = [leaf.to_memory(row).contiguous() for leaf, row in zip(layout.leaves, rows, strict=True)]
            assert [tuple(row.shape[1:]) for row in rows] == [leaf.physical() for leaf in layout.leaves]
            rows = [leaf.from_memory(row) for leaf, row in zip(layout.leaves, rows, strict=True)]
        there = prefix.activations(layout, rows, placeholder((len(chosen), *few.shape[1:])))
        output = prefix.decode(there)
        if name == "sequence first":  # its linear layers see time and batch as one dimension, and round so
            torch.testing.assert_close(output, model(few[chosen]))
        else:
            assert same(output, model(few[chosen]))


def test_rows_of_padded_views_from_a_cache(freeze, same):
    build, inputs, _ = MODELS["padded views"]
    model = build().eval()
    (clips,), kwargs = inputs()
    mask = kwargs["view_mask"]
    prefix = FrozenPrefix(model, freeze(model, 4), 4)
    encoded = prefix.encode(clips, mask)
    assert (encoded.rows, encoded.items) == (4, 3)
    of = encoded.leaves[0].split([2, 1, 1])
    rows = torch.cat([of[2], of[0]])
    there = prefix.activations(encoded.layout, [rows], placeholder((2, *clips.shape[1:])), mask[[2, 0]])
    assert same(prefix.decode(there), model(clips[[2, 0]], mask[[2, 0]]))
    lone = prefix.encode(clips[1:2], mask[1:2])
    assert torch.equal(lone.leaves[0], of[1])


@pytest.mark.parametrize(
    ("make", "order"),
    [
        (lambda: torch.empty(2, 3, 4), (0, 1, 2)),
        (lambda: torch.empty(2, 3, 4).transpose(1, 2), (0, 2, 1)),
        (lambda: torch.empty(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d), (0, 2, 3, 4, 1)),
        (lambda: torch.empty(5, 2, 3).transpose(0, 1), (1, 0, 2)),
        (lambda: torch.empty(2, 3, 4)[:, :2, ::2], (0, 1, 2)),
        (lambda: torch.empty(2, 1, 4).expand(2, 3, 4), (0, 1, 2)),
        (lambda: torch.empty(1).expand(2, 3), (0, 1)),
    ],
)
def test_the_order_of_dimensions_in_memory(make, order):
    tensor = make()
    assert memory_order(tensor.shape, tensor.stride()) == order
    leaf = Leaf(tuple(tensor.shape[1:]), tensor.dtype, order)
    tensor = torch.randn(tensor.shape)
    laid = leaf.lay(tensor)
    assert torch.equal(laid, tensor)
    assert memory_order(laid.shape, laid.stride()) == order
    assert leaf.lay(laid) is laid
    assert torch.equal(leaf.from_memory(leaf.to_memory(tensor).contiguous()), tensor)


def test_in_lockstep_with_the_whole_model(freeze, reference, same):
    """BatchNorm, dropout and momentum behind the boundary: equal weights after every step, thaw included."""
    models = [build_model("r3d_micro", TASKS, "none", lambda line: None, dropout=0.5) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.0) for model in models]
    clips, labels = torch.randn(6, 3, 4, 16, 16), torch.tensor([0, 1, 1, 0, 1, 0])
    for boundary in (9, 6, 2):
        anatomies = [freeze(model, boundary) for model in models]
        prefix = FrozenPrefix(models[0], anatomies[0], boundary)
        layout = prefix.prove(clips)
        cache = dict(enumerate(prefix.encode(clips).leaves[0].unbind()))
        plain = reference.WholeModel(models[1])
        for step in range(3):
            chosen = torch.randperm(6)[:4].tolist()
            rows = torch.stack([cache[index] for index in chosen])
            there = prefix.activations(layout, [rows], placeholder((4, *clips.shape[1:])))
            for model, half, kept, optimizer in (
                (models[0], prefix, there, optimizers[0]),
                (models[1], plain, plain.encode(clips[chosen]), optimizers[1]),
            ):
                model.train()
                torch.manual_seed(step)
                output = half.decode(kept)
                loss = nn.functional.cross_entropy(output["action"], labels[chosen]) + output["side"].mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            assert same(models[0].state_dict(), models[1].state_dict())


@pytest.mark.parametrize("boundary", [1, 4])
def test_under_autocast_the_activation_is_as_it_is_made(boundary, freeze, reference, same):
    model = micro("r3d_micro")().eval()
    clips = torch.randn(3, 3, 4, 24, 24)
    prefix = FrozenPrefix(model, freeze(model, boundary), boundary)
    full = prefix.prove(clips)
    with torch.autocast("cpu", torch.bfloat16):
        half = prefix.prove(clips)
        activations = prefix.encode(clips)
        # casts that were made without gradients must not be found here
        output = prefix.decode(activations)
        assert same(output, model(clips))
        # no comparison of values: in bfloat16 on a CPU, some are not the same each time
        found = reference.gradients(model, output)
    assert all(gradient is not None for gradient in found.values())
    assert (full.leaves[0].dtype, half.leaves[0].dtype) == (torch.float32, torch.bfloat16)
    assert activations.leaves[0].dtype is torch.bfloat16


def test_a_copy_may_run_the_frozen_part(freeze, same):
    model = micro("r3d_micro")().eval()
    clips = torch.randn(3, 3, 4, 24, 24)
    anatomy = freeze(model, 4)
    runner = copy.deepcopy(model).to(memory_format=torch.channels_last_3d)
    plain, fast = FrozenPrefix(model, anatomy, 4), FrozenPrefix(model, anatomy, 4, runner=runner)
    one, other = plain.encode(clips), fast.encode(clips)
    assert one.layout == other.layout
    assert one.leaves[0].stride() == other.leaves[0].stride()
    torch.testing.assert_close(one.leaves, other.leaves)
    low = FrozenPrefix(model, anatomy, 2, runner=runner).encode(clips)
    assert same(fast.advance(low).leaves, other.leaves)
    fast.prove(clips)  # of the model itself, which is exact


def test_inference_mode_around_it(freeze, same):
    model = micro("r3d_micro")().eval()
    clips = torch.randn(3, 3, 4, 24, 24)
    prefix = FrozenPrefix(model, freeze(model, 4), 4)
    with torch.inference_mode():
        activations = prefix.encode(clips)
        assert same(prefix.decode(activations), model(clips))
        rows = [leaf + 0 for leaf in activations.leaves]
    there = prefix.activations(activations.layout, rows, clips)
    prefix.decode(there)["action"].sum().backward()
    assert model.heads["action"].weight.grad is not None
