"""What ``export_model`` believes, and what it does with models that will not take any batch."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from unfreeze.models import build_model
from unfreeze.preprocessing import Preprocessing
from unfreeze.training.export import TOLERANCE, compare, export_model, sidecar

CLIP = torch.linspace(-1, 1, 3 * 4 * 6 * 6).reshape(3, 4, 6, 6)


class Tiny(nn.Module):
    name = "tiny"

    def __init__(self):
        super().__init__()
        self.name = "tiny"
        self.tasks = {"a": ("x", "y"), "b": ("x", "y", "z")}
        self.multilabel = frozenset({"b"})
        self.preprocessing = Preprocessing(4, 6, (6, 6), (0.5,) * 3, (0.5,) * 3)
        self.dropout = nn.Dropout(0.5)
        self.heads = nn.ModuleDict({"a": nn.Linear(12, 2), "b": nn.Linear(12, 3)})

    def forward(self, x):
        feature = self.dropout(x.mean(dim=(3, 4)).flatten(1))
        return {task: head(feature) for task, head in self.heads.items()}


class OneAtATime(Tiny):
    """Cannot be traced for any batch: its result depends on the size of the batch in plain Python."""

    def forward(self, x):
        assert int(x.shape[0]) in (1, 2)
        return super().forward(x * int(x.shape[0]))


@pytest.mark.parametrize("format", ["torch", "onnx"])
@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_in_the_file_and_the_model_stays_as_it_was(format, training, tmp_path):
    model = Tiny().train(training)
    path = tmp_path / {"torch": "m.pt2", "onnx": "m.onnx"}[format]
    agreement = export_model(model, CLIP, path, format, {"epoch": 3})
    assert model.training == training
    assert {task: found.holds for task, found in agreement.items()} == {"a": True, "b": True}
    described = json.loads(sidecar(path).read_text())
    assert described["epoch"] == 3
    assert [output["probabilities"] for output in described["outputs"].values()] == ["softmax", "sigmoid"]
    assert described["input"]["shape"] == ["batch", 3, 4, 6, 6]


def test_a_model_bound_to_a_batch_size_is_exported_for_single_clips(tmp_path):
    model = OneAtATime()
    export_model(model, CLIP, tmp_path / "m.pt2", "torch", {})
    assert json.loads((tmp_path / "m.pt2.json").read_text())["input"]["shape"] == [1, 3, 4, 6, 6]
    found = torch.export.load(tmp_path / "m.pt2").module()(CLIP[None])
    torch.testing.assert_close(found, model.eval()(CLIP[None]))


class Untraceable(Tiny):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


def test_a_model_that_cannot_be_traced_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="the model cannot be exported as torch: ") as caught:
        export_model(Untraceable(), CLIP, tmp_path / "m.pt2", "torch", {})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        (lambda logits: logits, True),
        (lambda logits: logits + TOLERANCE / 2, True),
        (lambda logits: logits + TOLERANCE * 3, False),
        (lambda logits: logits * math.nan, False),
        (lambda logits: logits.flip(1), False),
        (lambda logits: logits[:, :1], False),
        (lambda logits: logits[:1].expand_as(logits), False),  # one clip's answer for all of a batch
    ],
)
def test_what_counts_as_agreeing(change, holds):
    torch.manual_seed(0)
    model = Tiny().eval()
    with torch.no_grad():
        found = compare(model, lambda clips: {t: change(v) for t, v in model(clips).items()}, CLIP, True)
    assert all(one.holds for one in found.values()) == holds


@pytest.mark.parametrize("format", ["torch", "onnx"])
def test_a_transformer(format, tmp_path):
    model = build_model(
        "mvit_micro", {"clips": ("a", "b"), "linear": ("x", "y", "z")}, weights="default", log=str
    )
    path = tmp_path / {"torch": "m.pt2", "onnx": "m.onnx"}[format]
    agreement = export_model(model, torch.randn(3, 8, 48, 48), path, format, {})
    assert all(found.difference < 1e-4 for found in agreement.values())
