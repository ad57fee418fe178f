"""Two steps of the large backbones behind kept activations: the bits of two steps of the whole model."""

from __future__ import annotations

import copy
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import get_model
from torchvision.models.video.mvit import MViT, mvit_v2_s

from unfreeze.freezer import Freezer
from unfreeze.prefix import FrozenPrefix, placeholder
from unfreeze.prefix.graph import difference, inference_copy
from unfreeze.strategies.fixed import Fixed

CLASSES = 3


def s3d():
    model = get_model("s3d", weights=None, num_classes=CLASSES)
    model.avgpool = nn.AdaptiveAvgPool3d(1)  # its own asks for 224 x 224
    return model


def mvit():
    """All blocks of mvit_v2_s, for smaller clips: its own take a quarter of a minute a pass."""

    def smaller(*, weights, progress, **settings):
        return MViT(**(settings | {"spatial_size": (32, 32), "temporal_size": 4}))

    with patch("torchvision.models.video.mvit._mvit", smaller):
        return mvit_v2_s(weights=None, num_classes=CLASSES)


# how it is made, (C, T, H, W), blocks that train
MODELS = {
    "r3d_18": (lambda: get_model("r3d_18", weights=None, num_classes=CLASSES), (3, 4, 16, 16), "last 2"),
    "mvit_v2_s": (mvit, (3, 4, 32, 32), "last 3"),
    "swin3d_t": (lambda: get_model("swin3d_t", weights=None, num_classes=CLASSES), (3, 4, 32, 32), "last 2"),
    "s3d": (s3d, (3, 8, 32, 32), "last 4"),
}


class Arm:
    """A model of its own with all that trains it."""

    def __init__(self, model, blocks):
        self.model = model
        self.freezer = Freezer(model, Fixed(phases=[{"epochs": 1, "blocks": blocks}]))
        self.optimizer = torch.optim.AdamW(self.freezer.param_groups(lr=1e-3), weight_decay=0.1)
        self.freezer.attach(self.optimizer)
        trains = self.freezer.start_epoch().decision.trainable
        self.boundary = [block.name in trains for block in self.freezer.anatomy.blocks].index(True)
        model.train()

    def step(self, seed, labels, logits_of):
        torch.manual_seed(seed)  # of dropout and stochastic depth behind the boundary
        loss = F.cross_entropy(logits_of(), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


@pytest.fixture(scope="module", params=MODELS)
def built(request):
    """A model, clips, and the blocks that train; not to be changed."""
    build, shape, blocks = MODELS[request.param]
    torch.manual_seed(0)
    return build(), torch.randn(4, *shape), blocks


def test_steps_behind_kept_activations_have_the_bits_of_plain_ones(built):
    model, clips, blocks = built
    before = copy.deepcopy(model.state_dict())
    naive, cached = Arm(copy.deepcopy(model), blocks), Arm(copy.deepcopy(model), blocks)
    prefix = FrozenPrefix(cached.model, cached.freezer.anatomy, cached.boundary)
    layout = prefix.check(clips[:2]).layout
    # clips that were encoded in other company than they are trained in, one of them alone
    made = [prefix.encode(part).leaves for part in (clips[:3], clips[3:])]
    kept = [torch.cat(leaves) for leaves in zip(*made, strict=True)]

    labels = torch.tensor([0, 1, 2, 0])
    for number, batch in enumerate([[2, 0, 3], [1, 3]]):

        def whole(batch=batch):
            return naive.model(clips[batch])

        def behind(batch=batch):
            rows = [leaf[batch] for leaf in kept]
            unseen = placeholder(clips[batch].shape)
            return prefix.decode(prefix.activations(layout, rows, unseen))

        losses = [arm.step(number, labels[batch], run) for arm, run in ((naive, whole), (cached, behind))]
        assert torch.equal(*losses)

    after, its_after = naive.model.state_dict(), cached.model.state_dict()
    assert all(torch.equal(after[name], its_after[name]) for name in after)
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    frozen = cached.freezer.anatomy.blocks[: cached.boundary]
    held = {name for part in frozen for name in (*part.parameters, *part.buffers)}
    learning = {name for name, p in cached.model.named_parameters() if p.requires_grad}
    assert not moved & held
    assert moved >= learning


def test_the_inference_graph_of_frozen_blocks_differs_by_kernel_noise(built):
    model, clips, blocks = built
    arm = Arm(copy.deepcopy(model), blocks)
    runner = inference_copy(arm.model, arm.freezer.anatomy, arm.boundary)
    plain = FrozenPrefix(arm.model, arm.freezer.anatomy, arm.boundary)
    fast = FrozenPrefix(arm.model, arm.freezer.anatomy, arm.boundary, runner=runner)
    assert difference(plain.encode(clips), fast.encode(clips)) < 1e-4
