"""Every remedy against imbalance x every freezing strategy: a finite loss, and gradients where training is.

A single-label and a multi-label head, on a backbone with BatchNorm; a few steps in each of a few epochs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from unfreeze import strategies
from unfreeze.data import Manifest, Sample, View
from unfreeze.data.order import epoch_order
from unfreeze.freezer import Freezer
from unfreeze.training.balance import METHODS, Balance, prior_lines, sample_weights
from unfreeze.training.losses import build_criterion, count_labelled, mean_over_tasks

REMEDIES = [(), *((method,) for method in METHODS), ("weights", "sampler"), METHODS]
EPOCHS, CLIPS = 4, 12
SETTINGS = {
    "early_gradual": {"freeze_epochs": 1},
    "progressive": {"start_epoch": 2, "interval": 1},
    "adaptive": {"patience": 1},
    "fixed": {"phase1_epochs": 1, "phase2_epochs": 1},
}
KINDS = [0] * 8 + [1] * 2 + [2, None]
TAGS = [(0,)] * 5 + [(0, 1)] * 2 + [()] * 3 + [(2,), None]
MANIFEST = Manifest(
    {"kind": ("a", "b", "c"), "tags": ("x", "y", "z")},
    tuple(
        Sample((View(Path(f"{i}.mp4")),), "train", {"kind": kind, "tags": tags})
        for i, (kind, tags) in enumerate(zip(KINDS, TAGS, strict=True))
    ),
    "test",
    multilabel=frozenset({"tags"}),
)
LABELS = {
    "kind": torch.tensor([-1 if kind is None else kind for kind in KINDS]),
    "tags": torch.tensor([[-1] * 3 if tags is None else [int(c in tags) for c in range(3)] for tags in TAGS]),
}


class Tiny(nn.Module):
    """Three blocks and two heads."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh()) for _ in range(3))
        )
        self.heads = nn.ModuleDict({"kind": nn.Linear(4, 3), "tags": nn.Linear(4, 3)})

    def forward(self, x):
        feature = self.blocks(x)
        return {task: head(feature) for task, head in self.heads.items()}


@pytest.mark.parametrize("name", strategies.available())
@pytest.mark.parametrize("methods", REMEDIES, ids=lambda methods: "+".join(methods) or "none")
def test_remedies_and_strategies_do_not_meddle_with_each_other(name, methods):
    torch.manual_seed(0)
    model, strategy = Tiny(), strategies.get(name)(**SETTINGS.get(name, {}))
    clips = torch.randn(CLIPS, 4)
    balance = Balance({"kind": methods, "tags": methods})
    criterion, weights = build_criterion(balance, MANIFEST, 0.1), sample_weights(balance, MANIFEST)
    assert bool(prior_lines(balance, MANIFEST)) == bool(methods)
    freezer = Freezer(model, strategy)
    optimizer = torch.optim.AdamW(freezer.param_groups(lr=1e-2))
    freezer.attach(optimizer)

    for epoch in range(1, EPOCHS + 1):
        freezer.start_epoch()
        model.train()
        trains = freezer.status().blocks
        parts = {part.name: part for part in freezer.anatomy.blocks}
        frozen = [
            key
            for block, part in parts.items()
            if not trains[block]
            for key in (*part.parameters, *part.buffers)
        ]
        before = {key: value.clone() for key, value in model.state_dict().items()}
        order = epoch_order(CLIPS, seed=0, epoch=epoch, shuffle=True, weights=weights)
        for picks in (order[:6], order[6:]):
            labels = {task: of_task[picks] for task, of_task in LABELS.items()}
            sums = criterion.sums(model(clips[picks]), labels)
            loss = mean_over_tasks(sums, count_labelled([labels]))
            assert loss.isfinite()
            loss.backward()
            for key, parameter in model.named_parameters():
                if key in frozen:
                    assert parameter.grad is None
                else:
                    assert parameter.grad.isfinite().all()
            assert all(head.weight.grad.any() for head in model.heads.values())
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        after = model.state_dict()
        assert all(torch.equal(after[key], before[key]) for key in frozen)
        moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
        assert {"heads.kind.weight", "heads.tags.weight"} <= moved
        for block, part in parts.items():
            assert bool(moved & set(part.parameters)) == trains[block]
        freezer.end_epoch(accuracy=0.5)
