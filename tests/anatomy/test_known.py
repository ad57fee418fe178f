"""Models that people fine-tune: their blocks by name, and nothing left out."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from unfreeze.anatomy import Anatomy, dissect

Account = Callable[[nn.Module, Anatomy], None]
RESNET = ("stem", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)))


def numbered(pattern: str, count: int) -> tuple[str, ...]:
    return tuple(pattern.format(i) for i in range(count))


def staged(pattern: str, depths: dict[int, int]) -> tuple[str, ...]:
    return tuple(pattern.format(stage, i) for stage, depth in depths.items() for i in range(depth))


MVIT = ("stem", *numbered("blocks.{}", 16))
TORCHVISION = {
    "r3d_18": (RESNET, ("fc",)),
    "mc3_18": (RESNET, ("fc",)),
    "r2plus1d_18": (RESNET, ("fc",)),
    "mvit_v1_b": (MVIT, ("head",)),
    "mvit_v2_s": (MVIT, ("head",)),
    "s3d": (tuple(f"features.{i}" for i in (0, 2, 3, 5, 6, 8, 9, 10, 11, 12, 14, 15)), ("classifier",)),
    "swin3d_t": (("stem", *staged("features.{}.{}", {0: 2, 2: 2, 4: 6, 6: 2})), ("head",)),
    "swin3d_s": (("stem", *staged("features.{}.{}", {0: 2, 2: 2, 4: 18, 6: 2})), ("head",)),
    "swin3d_b": (("stem", *staged("features.{}.{}", {0: 2, 2: 2, 4: 18, 6: 2})), ("head",)),
    "resnet18": (RESNET, ("fc",)),
    "vit_b_16": (("stem", *numbered("encoder.layers.encoder_layer_{}", 12)), ("heads",)),
    "convnext_tiny": (("stem", *staged("features.{}.{}", {1: 3, 3: 3, 5: 9, 7: 3})), ("classifier.2",)),
    "swin_t": (("stem", *staged("features.{}.{}", {1: 2, 3: 2, 5: 6, 7: 2})), ("head",)),
    # nothing is declared for the following: they are read off their structure
    "efficientnet_b0": (
        (
            "features.0",
            *staged("features.{}.{}", {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 1}),
            "features.8",
        ),
        ("classifier",),
    ),
    "mobilenet_v3_small": (numbered("features.{}", 13), ("classifier",)),
    "vgg11": (tuple(f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)), ("classifier",)),
}
TIMM = {
    "resnet18": (RESNET, ("fc",)),
    "vit_tiny_patch16_224": (("stem", *numbered("blocks.{}", 12)), ("head",)),
    "deit_tiny_distilled_patch16_224": (("stem", *numbered("blocks.{}", 12)), ("head", "head_dist")),
    "convnext_atto": (("stem", *staged("stages.{}.blocks.{}", {0: 2, 1: 2, 2: 6, 3: 2})), ("head.fc",)),
    "swin_tiny_patch4_window7_224": (
        ("stem", *staged("layers.{}.blocks.{}", {0: 2, 1: 2, 2: 6, 3: 2})),
        ("head.fc",),
    ),
    "mobilenetv3_small_100": (
        ("stem", *staged("blocks.{}.{}", {0: 1, 1: 2, 2: 3, 3: 2, 4: 3, 5: 1}), "conv_head"),
        ("classifier",),
    ),
}


def names(anatomy: Anatomy) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(b.name for b in anatomy.blocks), tuple(h.name for h in anatomy.heads)


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str, account: Account) -> None:
    model = torchvision.models.get_model(name, weights=None)
    anatomy = dissect(model)
    assert names(anatomy) == TORCHVISION[name]
    account(model, anatomy)


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str, account: Account) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model(name)
    anatomy = dissect(model)
    assert names(anatomy) == TIMM[name]
    account(model, anatomy)


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize(
    ("kind", "inner"),
    [
        ("VideoMAEForVideoClassification", "videomae"),
        ("TimesformerForVideoClassification", "timesformer"),
        ("VivitForVideoClassification", "vivit"),
        ("ViTForImageClassification", "vit"),
    ],
)
def test_transformers(kind: str, inner: str, account: Account) -> None:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, kind.split("For")[0] + "Config")(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
        num_frames=4,
    )
    model = getattr(transformers, kind)(config)
    anatomy = dissect(model)
    blocks, heads = names(anatomy)
    # the list of layers has moved between releases (encoder.layer, layers); the wrapper is gone from the
    # names
    assert blocks[0] == "stem"
    assert [name.rpartition(".")[2] for name in blocks[1:]] == ["0", "1", "2"]
    assert not any(name.startswith(inner) for name in blocks)
    assert heads == ("classifier",)
    final_norms = [name for name, _ in model.named_parameters() if name.rsplit(".", 2)[-2] in NORMS]
    assert final_norms
    assert set(final_norms) <= set(anatomy.blocks[-1].parameters)
    account(model, anatomy)


NORMS = ("fc_norm", "layernorm")


@pytest.mark.usefixtures("meta")
def test_the_guides_numbers() -> None:
    model = torchvision.models.get_model("r3d_18", weights=None)
    anatomy = dissect(model)
    sizes = anatomy.sizes(model)
    assert sizes["layer4.1"] == 14_157_824
    assert sum(sizes[block.name] for block in anatomy.blocks) == 33_166_272


@pytest.mark.usefixtures("meta")
def test_composed_parts() -> None:
    mvit = dissect(torchvision.models.get_model("mvit_v2_s", weights=None))
    assert mvit.part("stem").roots == ("conv_proj", "pos_encoding")
    assert mvit.part("blocks.15").roots == ("blocks.15", "norm")
    swin = dissect(torchvision.models.get_model("swin3d_t", weights=None))
    assert swin.part("features.2.0").roots == ("features.1", "features.2.0")  # patch merging with its stage
    assert swin.part("features.6.1").roots == ("features.6.1", "norm", "avgpool")
    assert swin.part("stem").roots == ("patch_embed", "pos_drop")
    s3d = dissect(torchvision.models.get_model("s3d", weights=None))
    assert s3d.part("features.0").roots == ("features.0", "features.1")  # pooling with the layer before it
    vit = dissect(torchvision.models.get_model("vit_b_16", weights=None))
    assert {"class_token", "encoder.pos_embedding"} <= set(vit.part("stem").parameters)
    assert {"encoder.ln.weight", "encoder.ln.bias"} <= set(vit.blocks[-1].parameters)


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("name", ["r3d_18", "mvit_v2_s", "s3d", "swin3d_t", "vit_b_16", "resnet18"])
def test_structure_agrees_with_the_declaration(name: str) -> None:
    """A stranger with the same structure is understood without the table of layouts."""
    model = torchvision.models.get_model(name, weights=None)
    declared = dissect(model)
    model.__class__ = type("Stranger", (nn.Module,), {"forward": type(model).forward})
    assert dissect(model) == declared


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("name", ["r3d_18", "mvit_v2_s", "swin3d_t", "s3d"])
def test_blocks_of_torchvision_run_in_their_order(name: str) -> None:
    model = torchvision.models.get_model(name, weights=None)
    clip = torch.empty(1, 3, 16, 224, 224)
    assert dissect(model, example=clip) == dissect(model)


@pytest.mark.usefixtures("meta")
def test_timms_order_counts_where_modules_are_registered_in_another() -> None:
    """All patch embeddings of Twins are registered before all blocks; each belongs to the stage behind it."""
    timm = pytest.importorskip("timm")
    model = timm.create_model("twins_pcpvt_small")
    anatomy = dissect(model)
    assert [block.name for block in anatomy.blocks] == [
        "stem",
        *staged("blocks.{}.{}", {0: 3, 1: 4, 2: 6, 3: 3}),
    ]
    assert {"patch_embeds.1", "blocks.1.0"} <= set(anatomy.part("blocks.1.0").roots)
    run = dissect(model, example=torch.empty(1, 3, 224, 224))
    assert [block.parameters for block in run.blocks] == [block.parameters for block in anatomy.blocks]
