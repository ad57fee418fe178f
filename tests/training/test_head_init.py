"""How heads begin: on features whose best head is known, and on a real model with views and masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unfreeze.models import VideoClassifier
from unfreeze.preprocessing import Preprocessing
from unfreeze.training.head_init import class_means_head, collect_features, init_heads, multilabel_head

CPU = torch.device("cpu")
CLIP = Preprocessing(frames=2, resize=2, crop=(2, 2), mean=(0.5,) * 3, std=(0.5,) * 3)
TASKS = {"one": ("a", "b", "c"), "many": ("x", "y")}
WIDTH = 12


def clusters(counts: list[int], spread: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (N, WIDTH) around a centre per class, far from the origin as features after a ReLU are."""
    generator = torch.Generator().manual_seed(seed)
    centres = 5 + 2 * torch.randn(len(counts), WIDTH, generator=generator, dtype=torch.float64)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    noise = torch.randn(len(labels), WIDTH, generator=torch.Generator().manual_seed(seed + 1)).double()
    return centres[labels] + spread * noise, labels


def test_logits_are_those_of_the_nearest_mean() -> None:
    features, labels = clusters([20, 10, 5])
    weight, bias = class_means_head(features, labels, 3)
    means = torch.stack([features[labels == c].mean(dim=0) for c in range(3)])
    logits = features @ weight.T + bias
    nearest = torch.cdist(features, means).argmin(dim=1)
    assert torch.equal(logits.argmax(dim=1), nearest)
    differences = logits - logits[:, :1]
    squared = torch.cdist(features, means).square()
    ratio = differences[:, 1:] / (squared[:, :1] - squared[:, 1:])
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))  # s/2 for every clip and class
    assert ratio[0, 0] > 0


def test_new_clips_are_told_apart() -> None:
    features, labels = clusters([8, 8, 8], spread=2.0)
    weight, bias = class_means_head(features, labels, 3)
    held_out = clusters([200, 200, 200], spread=2.0)[0] + 0.5 * torch.randn(600, WIDTH)
    accuracy = ((held_out @ weight.T + bias).argmax(dim=1) == torch.arange(3).repeat_interleave(200)).double()
    assert accuracy.mean() > 0.7


def test_where_the_features_say_nothing_the_head_does_not_pretend() -> None:
    """Two classes of few clips and no difference: by means that contain the clips, all would look certain."""
    torch.manual_seed(0)
    features, labels = 5 + torch.randn(12, 256).double(), torch.arange(2).repeat(6)
    weight, bias = class_means_head(features, labels, 2)
    assert (features @ weight.T + bias).softmax(dim=1).max() < 0.75


def test_where_everything_is_clear_a_loss_remains() -> None:
    features, labels = clusters([10, 10, 10], spread=0.01)
    weight, bias = class_means_head(features, labels, 3)
    top = (features @ weight.T + bias).softmax(dim=1).max(dim=1).values
    assert 0.9 < top.min() < 1 - 1e-9


def test_masked_clips_and_classes_without_clips() -> None:
    features, labels = clusters([10, 10])
    masked = torch.cat([labels, torch.full((5,), -1)])
    weight, bias = class_means_head(torch.cat([features, torch.full((5, WIDTH), 1e6).double()]), masked, 3)
    expected = class_means_head(features, labels, 3)
    assert torch.equal(weight, expected[0])
    assert torch.equal(bias, expected[1])
    assert not weight[2].any()  # the mean of all clips
    assert bias[2] == 0
    nothing = class_means_head(features, torch.full((20,), -1), 3)
    assert not nothing[0].any()
    assert not nothing[1].any()


@pytest.mark.parametrize("counts", [[1, 1, 1], [1, 5, 1], [6, 1, 2]])
def test_few_clips_are_no_problem(counts: list[int]) -> None:
    features, labels = clusters(counts, seed=3)
    weight, bias = class_means_head(features, labels, 3)
    assert torch.isfinite(weight).all()
    assert torch.equal((features @ weight.T + bias).argmax(dim=1), labels)


def test_clips_that_are_all_alike() -> None:
    weight, bias = class_means_head(torch.ones(6, WIDTH).double(), torch.arange(6) % 3, 3)
    assert not weight.any()
    assert not bias.any()


def test_several_labels_at_once() -> None:
    torch.manual_seed(0)
    truth = torch.randint(0, 2, (60, 3))
    truth[:, 2] = 0  # a class that no clip has
    directions = 3 * torch.randn(3, WIDTH).double()
    features = 5 + truth.double() @ directions + torch.randn(60, WIDTH).double()
    features[:4], masked = 1e6, truth.clone()
    masked[:4] = -1
    weight, bias = multilabel_head(features, masked)
    probabilities = (features[4:] @ weight.T + bias).sigmoid()
    assert ((probabilities > 0.5) == truth[4:].bool())[:, :2].double().mean() > 0.9
    assert (probabilities[:, 2] == 0.5).all()


class Corner(nn.Module):
    """(B, C, T, H, W) -> (B, WIDTH): the clip's own numbers, if it is in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        return x.flatten(1)[:, :WIDTH]


def model() -> VideoClassifier:
    made = VideoClassifier("corner", Corner(), WIDTH, TASKS, CLIP, dropout=0.5, multilabel={"many"})
    made.train()
    return made


def batches(copies: int = 1) -> Iterator[dict[str, Any]]:
    """Two batches of 15 clips with two views, the second of which is often absent."""
    features, labels = clusters([10, 10, 10])
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    for index in order.split(15):
        video = torch.zeros(15, 2, 3, 2, 2, 2)
        video.view(15, 2, -1)[:, :, :WIDTH] = features[index].float().unsqueeze(1)
        mask = torch.ones(15, 2, dtype=torch.bool)
        mask[::2, 1] = False
        video[::2, 1] = 0
        labelled = labels[index].clone()
        labelled[0] = -1
        many = torch.stack([labels[index] == 0, labels[index] != 1], dim=1).long()
        yield {
            "video": video.repeat_interleave(copies, dim=0),
            "view_mask": mask.repeat_interleave(copies, dim=0),
            "labels": {"one": labelled, "many": many},
            "index": index,
        }


@pytest.mark.parametrize("copies", [1, 3])
def test_class_means_on_a_model(copies: int) -> None:
    classifier = model()
    init_heads(classifier, "class_means", batches(copies), device=CPU)
    assert classifier.training
    features, labels = clusters([10, 10, 10])
    one = classifier.heads["one"](features.float())
    many = classifier.heads["many"](features.float())
    assert (one.argmax(dim=1) == labels).float().mean() > 0.95
    assert ((many > 0) == torch.stack([labels == 0, labels != 1], dim=1)).float().mean() > 0.9
    assert all(p.requires_grad for p in classifier.heads.parameters())


def test_features_come_in_the_order_of_their_labels() -> None:
    found, labels = collect_features(model(), batches(copies=2), device=CPU, precision="fp32")
    features, truth = clusters([10, 10, 10])
    index = torch.cat([batch["index"] for batch in batches()])
    torch.testing.assert_close(found, features[index], rtol=1e-6, atol=1e-6)
    assert ((labels["one"] == truth[index]) | (labels["one"] == -1)).all()


def test_zeros_give_every_class_the_same_probability() -> None:
    classifier = model()
    init_heads(classifier, "zeros", [], device=CPU)
    logits = classifier.eval()(torch.randn(4, 2, 3, 2, 2, 2))
    assert (logits["one"].softmax(dim=1) == 1 / 3).all()
    assert (logits["many"].sigmoid() == 0.5).all()


def test_random_leaves_them_alone_and_looks_at_nothing() -> None:
    classifier = model()
    before = [p.clone() for p in classifier.heads.parameters()]
    init_heads(classifier, "random", iter([None]), device=CPU)  # type: ignore[list-item]
    assert all(map(torch.equal, classifier.heads.parameters(), before))


def test_features_that_are_not_finite() -> None:
    broken = [{**batch, "video": batch["video"] * torch.inf} for batch in batches()]
    with pytest.raises(
        ValueError, match="--head_init class_means: the features of some clips are not finite"
    ):
        init_heads(model(), "class_means", broken, device=CPU)
