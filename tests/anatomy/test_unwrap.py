"""Wrappers around a model, and around modules inside it."""

import pytest
import torch
import torchvision
from torch import nn

from unfreeze.anatomy import dissect, unwrap

pytestmark = pytest.mark.usefixtures("meta")


def resnet() -> nn.Module:
    return torchvision.models.get_model("r3d_18", weights=None)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m,
        torch.compile,
        nn.DataParallel,
        lambda m: nn.DataParallel(torch.compile(m)),
        lambda m: torch.compile(nn.DataParallel(torch.compile(m))),
    ],
)
def test_a_wrapped_model_has_the_anatomy_of_the_model(wrap: object) -> None:
    model = resnet()
    assert unwrap(wrap(model)) is model
    assert dissect(wrap(model)) == dissect(model)
    assert dissect(model).sizes(wrap(model)) == dissect(model).sizes(model)


def test_ddp(tmp_path: object) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/init", rank=0, world_size=1)
    try:
        with torch.device("cpu"):
            model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
            assert unwrap(torch.compile(nn.parallel.DistributedDataParallel(model))) is model
    finally:
        torch.distributed.destroy_process_group()


def test_a_compiled_backbone_inside_keeps_the_names_of_blocks() -> None:
    class Classifier(nn.Module):
        def __init__(self, backbone: nn.Module) -> None:
            super().__init__()
            self.backbone = backbone
            self.heads = nn.ModuleDict({"motion": nn.Linear(512, 6)})

    plain, backbone = resnet(), resnet()
    backbone.fc = nn.Identity()
    anatomy = dissect(Classifier(torch.compile(backbone)))
    assert [b.name for b in anatomy.blocks] == [b.name for b in dissect(plain).blocks]
    assert "backbone._orig_mod.layer4.1.conv1.0.weight" in anatomy.part("layer4.1").parameters


def test_a_compiled_block_goes_with_its_wrapper() -> None:
    model = resnet()
    model.layer4[1] = torch.compile(model.layer4[1])
    model.stem = torch.compile(model.stem)
    anatomy = dissect(model)
    assert [b.name for b in anatomy.blocks] == [b.name for b in dissect(resnet()).blocks]
    assert {"layer4.1", "layer4.1._orig_mod"} <= set(anatomy.part("layer4.1").modules)
    assert dissect(model, heads=["fc"], blocks=["stem", "layer?.?"]).part("layer4.1")
