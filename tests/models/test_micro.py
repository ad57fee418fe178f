"""The micro backbones: built like their big siblings, small on disk, and they know what they were taught."""

import json
import re
from importlib import resources
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.video import mvit_v2_s, r3d_18

from unfreeze.data.demo.files import FPS, FRAMES
from unfreeze.data.demo.scenes import render
from unfreeze.data.demo.shapes import SHAPES
from unfreeze.data.demo.tasks import PRETRAINING_SHAPES, PRETRAINING_TASKS, pretraining_pose
from unfreeze.models import micro

PRETRAINED = resources.files("unfreeze.models") / "pretrained"
NAMES = ("r3d_micro", "mvit_micro")


def metadata(name: str) -> dict[str, Any]:
    return json.loads((PRETRAINED / f"{name}.json").read_text(encoding="utf-8"))


def pretrained(name: str) -> nn.Module:
    model = getattr(micro, name)(num_classes=len(metadata(name)["classes"]))
    with resources.as_file(PRETRAINED / f"{name}.safetensors") as file:
        model.load_state_dict(load_file(file))
    return model.eval()


def test_r3d_micro_has_the_names_of_r3d_18() -> None:
    with torch.device("meta"):
        ours, theirs = micro.r3d_micro(), r3d_18()
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_mvit_micro_has_the_names_of_mvit_v2_s() -> None:
    with torch.device("meta"):
        ours, theirs = micro.mvit_micro(), mvit_v2_s()
    assert {name.split(".")[0] for name in ours.state_dict()} == {
        name.split(".")[0] for name in theirs.state_dict()
    }
    assert len(ours.blocks) == 6
    # Only the pooling convolutions that are left out may be missing, and projections where widths change.
    pooling = re.compile(r"blocks\.\d+\.(attn\.pool_[qkv]|project)\.")
    own = {re.sub(r"\d+", "N", name) for name in theirs.state_dict() if not pooling.match(name)}
    assert own == {re.sub(r"\d+", "N", name) for name in ours.state_dict() if not pooling.match(name)}


@pytest.mark.parametrize(("name", "parameters"), [("r3d_micro", 1_444_622), ("mvit_micro", 920_446)])
def test_size(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = getattr(micro, name)(num_classes=30)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", NAMES)
def test_output_shape_and_gradients_everywhere(name: str) -> None:
    model = getattr(micro, name)(num_classes=5)
    out = model(torch.randn(2, 3, micro.FRAMES, micro.SIZE, micro.SIZE))
    assert out.shape == (2, 5)
    out.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_files_are_small_and_described(name: str) -> None:
    with resources.as_file(PRETRAINED / f"{name}.safetensors") as file:
        assert file.stat().st_size <= 4_000_000
    about = metadata(name)
    assert about["license"] == "Apache-2.0"
    preprocessing = about["preprocessing"]
    assert preprocessing["frames"] == micro.FRAMES
    assert preprocessing["crop"] == [micro.SIZE, micro.SIZE]
    assert about["classes"] == [f"{task}: {c}" for task, names in about["tasks"].items() for c in names]
    assert {task: tuple(names) for task, names in about["tasks"].items()} == dict(PRETRAINING_TASKS)
    card = (PRETRAINED / f"{name}.md").read_text(encoding="utf-8")
    for accuracy in about["held_out_accuracy"].values():
        assert f"{accuracy:.1%}" in card


def unseen_scenes(count: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Scenes that pretraining never drew: (count, 3, T, H, W), normalised, and their classes."""
    videos, labels = [], []
    resized = 56  # rendered at the size that pretraining resized to, so that only the crop is left
    inside = slice((resized - micro.SIZE) // 2, (resized + micro.SIZE) // 2)
    for i in range(count):
        rng = np.random.default_rng([i, 99])
        label = {task: int(rng.integers(len(names))) for task, names in PRETRAINING_TASKS.items()}
        profile = SHAPES[PRETRAINING_SHAPES[label["shape"]]]
        pose = pretraining_pose(label, rng, FRAMES, FPS)
        frames = render(
            profile, pose, texture=2_000_000_000 + i, seed=2_000_000_000 + i, size=resized, fps=FPS
        )
        videos.append(torch.from_numpy(frames[3 : 3 + 3 * micro.FRAMES : 3, inside, inside]))
        labels.append(label)
    stacked = torch.stack(videos).permute(0, 4, 1, 2, 3).float() / 255
    return (stacked - 0.45) / 0.225, {
        task: torch.tensor([x[task] for x in labels]) for task in PRETRAINING_TASKS
    }


@pytest.fixture(scope="module")
def scenes() -> tuple[Tensor, dict[str, Tensor]]:
    return unseen_scenes(60)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_weights_load_strictly_and_beat_chance_on_unseen_scenes(
    name: str, scenes: tuple[Tensor, dict[str, Tensor]]
) -> None:
    videos, labels = scenes
    tasks = metadata(name)["tasks"]
    logits = pretrained(name)(videos).split([len(names) for names in tasks.values()], dim=1)
    for (task, names), part in zip(tasks.items(), logits, strict=True):
        accuracy = (part.argmax(1) == labels[task]).float().mean().item()
        assert accuracy > 1.5 / len(names), f"{task}: {accuracy:.0%}"
