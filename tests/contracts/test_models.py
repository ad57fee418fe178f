"""Every backbone by name keeps the same promises: its feature, its blocks, its heads, its preprocessing."""

import re
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from unfreeze.anatomy import dissect
from unfreeze.freezer import Freezer
from unfreeze.models import VideoClassifier, build_model, model_names
from unfreeze.models.registry import BACKBONES
from unfreeze.strategies.head_only import HeadOnly

TASKS = {"motion": ("left", "right", "up"), "object": ("cup", "ball")}
RESNET = ["stem", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1))]
MVIT = ["stem", *(f"blocks.{i}" for i in range(16))]
S3D = [f"features.{i}" for i in (0, 2, 3, 5, 6, 8, 9, 10, 11, 12, 14, 15)]


def swin(depth: int) -> list[str]:
    depths = {0: 2, 2: 2, 4: depth, 6: 2}
    return ["stem", *(f"features.{stage}.{i}" for stage, count in depths.items() for i in range(count))]


BLOCKS = {
    "r3d_micro": RESNET,
    "mvit_micro": MVIT[:7],
    "r3d_18": RESNET,
    "mc3_18": RESNET,
    "r2plus1d_18": RESNET,
    "mvit_v1_b": MVIT,
    "mvit_v2_s": MVIT,
    "s3d": S3D,
    "swin3d_t": swin(6),
    "swin3d_s": swin(18),
    "swin3d_b": swin(18),
}
# clips (T, H, W) small enough for a test; the position tables of MViT fix their size
SMALL = {"mvit_micro": (8, 48, 48), "s3d": (16, 64, 64)}
LARGE_ON_CPU = {"mvit_v1_b", "mvit_v2_s", "swin3d_s", "swin3d_b"}


@pytest.fixture
def meta() -> Iterator[None]:
    """Models made inside take no time and no memory: parameters have shapes, not values."""
    with torch.device("meta"):
        yield


def make(name: str, views: str = "mean") -> VideoClassifier:
    return build_model(name, TASKS, weights="none", views=views)


def test_the_names() -> None:
    assert model_names() == tuple(BLOCKS)


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("name", model_names())
def test_blocks_and_heads(name: str) -> None:
    model = make(name)
    anatomy = dissect(model)
    assert [block.name for block in anatomy.blocks] == BLOCKS[name]
    assert [head.name for head in anatomy.heads] == ["heads.motion", "heads.object"]
    assert "dropout" in anatomy.heads[0].modules
    sizes = anatomy.sizes(model)
    assert sum(sizes.values()) == sum(p.numel() for p in model.parameters())
    assert all(sizes[block] for block in BLOCKS[name])
    assert [model.heads[task].out_features for task in TASKS] == [3, 2]
    assert (model.name, model.tasks) == (name, TASKS)


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("name", model_names())
def test_an_aggregator_that_learns_is_a_head_and_leaves_the_blocks_alone(name: str) -> None:
    model = make(name, views="attention")
    anatomy = dissect(model)
    assert [head.name for head in anatomy.heads] == ["pooling", "heads.motion", "heads.object"]
    assert set(anatomy.heads[0].parameters) == {f"pooling.{n}" for n, _ in model.pooling.named_parameters()}
    mean = dissect(make(name))
    assert anatomy.blocks == mean.blocks
    freezer = Freezer(model, HeadOnly())
    freezer.start_epoch()
    assert all(p.requires_grad for p in model.pooling.parameters())
    assert not any(p.requires_grad for p in model.backbone.parameters())
    kinds = {group["name"]: group["kind"] for group in freezer.param_groups()}
    assert kinds["pooling"] == "head"


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("name", model_names())
def test_names_are_those_of_the_network(name: str) -> None:
    """Apart from the classifier, so that state dicts of the original fit."""
    ours = {key: tensor.shape for key, tensor in make(name).backbone.state_dict().items()}
    row = BACKBONES[name]
    original = {key: tensor.shape for key, tensor in row.build().state_dict().items()}
    assert ours == {key: shape for key, shape in original.items() if not key.startswith(f"{row.classifier}.")}
    assert len(ours) < len(original)


@pytest.mark.parametrize("name", [name for name in model_names() if not BACKBONES[name].shipped])
def test_preprocessing_is_the_weights_own(name: str) -> None:
    row = BACKBONES[name]
    weights = row.default_weights()
    transform, preprocessing = weights.transforms(), row.preprocessing()
    said = dict(re.findall(r"`(clip_len|frame_rate)=([\d.]+)`", weights.meta["_docs"]))
    assert preprocessing.frames == int(said["clip_len"]) >= weights.meta.get("min_temporal_size", 1)
    assert preprocessing.fps == float(said["frame_rate"])
    assert list(preprocessing.crop) == transform.crop_size
    resize = preprocessing.resize
    assert ([resize] if isinstance(resize, int) else list(resize)) == transform.resize_size
    assert list(preprocessing.mean) == transform.mean
    assert list(preprocessing.std) == transform.std
    assert preprocessing.interpolation == transform.interpolation.value


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("name", model_names())
def test_shapes_at_the_size_of_the_preprocessing(name: str) -> None:
    model = make(name).eval()
    frames, (height, width) = model.preprocessing.frames, model.preprocessing.crop
    logits = model(torch.empty(1, 2, 3, frames, height, width))
    assert {task: tuple(each.shape) for task, each in logits.items()} == {"motion": (1, 3), "object": (1, 2)}


@pytest.mark.parametrize("name", [name for name in model_names() if name not in LARGE_ON_CPU])
def test_a_head_on_our_feature_is_the_original_classifier(name: str) -> None:
    """Logits of the original network = a head with the old classifier's weights on our feature."""
    torch.manual_seed(0)
    row = BACKBONES[name]
    original = row.build().eval()
    for module in original.modules():
        if isinstance(module, nn.BatchNorm3d):  # statistics of no real data, but not the identity either
            module.running_mean.uniform_(-0.1, 0.1)
    classifier = getattr(original, row.classifier)
    old = next(m for m in classifier.modules() if isinstance(m, (nn.Linear, nn.Conv3d)))
    with torch.device("meta"):
        model = build_model(name, {"old": [str(i) for i in range(len(old.weight))]}, weights="none").eval()
    state = original.state_dict()
    ours = {f"backbone.{k}": t for k, t in state.items() if not k.startswith(f"{row.classifier}.")}
    heads = {"heads.old.weight": old.weight.detach().flatten(1), "heads.old.bias": old.bias.detach()}
    model.load_state_dict({**ours, **heads}, assign=True)
    if (
        name == "s3d"
    ):  # its own pooling asks for 224 pixels; with less of it, the classifier's map is 2 x 2 x 2
        original.avgpool = model.backbone.avgpool = nn.Identity()
    clip = torch.randn(1, 3, *SMALL.get(name, (2, 24, 24)))
    with torch.no_grad():
        torch.testing.assert_close(model(clip)["old"], original(clip), rtol=1e-4, atol=1e-5)
