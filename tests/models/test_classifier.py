"""``VideoClassifier`` on a backbone small enough to check by hand."""

import pytest
import torch
from torch import nn

from unfreeze.anatomy import dissect
from unfreeze.models import VideoClassifier
from unfreeze.models.views import poolings
from unfreeze.preprocessing import Preprocessing

CLIP = Preprocessing(frames=2, resize=4, crop=(4, 4), mean=(0.5,) * 3, std=(0.5,) * 3)


class Mean(nn.Module):
    """(B, C, T, H, W) -> (B, C), scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(3, 3, bias=False)
        nn.init.eye_(self.scale.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale(x.mean(dim=(2, 3, 4)))


class Normed(Mean):
    """The same with a BatchNorm, which sees every clip of its batch, and a list of how many there were."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        return self.norm(super().forward(x))


def model(tasks: dict[str, list[str]], dropout: float = 0.0) -> VideoClassifier:
    return VideoClassifier("mean", Mean(), 3, tasks, CLIP, dropout)


def normed(views: str) -> VideoClassifier:
    torch.manual_seed(0)
    made = VideoClassifier("normed", Normed(), 3, {"a": ["x", "y"]}, CLIP, views=views)
    if views == "attention":
        nn.init.normal_(made.pooling.score.weight)
    return made


def padded(clips: torch.Tensor, absent: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The clips with so many views of zeros behind them, and the mask."""
    count, views = clips.shape[:2]
    mask = (torch.arange(views + absent) < views).expand(count, -1)
    return torch.cat([clips, torch.zeros(count, absent, *clips.shape[2:])], dim=1), mask


def test_one_head_per_task() -> None:
    classifier = model({"a": ["x", "y"], "b": ["z"]})
    logits = classifier(torch.ones(4, 3, 2, 4, 4))
    assert {task: tuple(each.shape) for task, each in logits.items()} == {"a": (4, 2), "b": (4, 1)}
    torch.testing.assert_close(logits["a"][0], classifier.heads["a"](torch.ones(3)))
    assert classifier.tasks == {"a": ("x", "y"), "b": ("z",)}


def test_views_are_averaged_per_video() -> None:
    classifier = model({"a": ["x", "y"]})
    clips = torch.randn(2, 5, 3, 2, 4, 4)
    torch.testing.assert_close(classifier(clips)["a"], classifier(clips.mean(dim=1))["a"])
    one = torch.randn(2, 3, 2, 4, 4)
    torch.testing.assert_close(classifier(one.unsqueeze(1))["a"], classifier(one)["a"])


@pytest.mark.parametrize("views", poolings())
def test_a_padded_view_changes_nothing(views: str) -> None:
    """Not the logits, not the gradients, not the statistics of BatchNorm, and not the time it takes."""
    clips = torch.randn(4, 2, 3, 2, 4, 4)
    plain, masked = normed(views), normed(views)
    x, mask = padded(clips, absent=3)
    there = clips.clone().requires_grad_()
    x.requires_grad_()
    out, same = plain(there)["a"], masked(x, mask)["a"]
    assert torch.equal(out, same)
    out.square().sum().backward()
    same.square().sum().backward()
    assert masked.backbone.seen == plain.backbone.seen == [8]
    assert torch.equal(x.grad[:, :2], there.grad)
    assert not x.grad[:, 2:].any()
    for (name, ours), theirs in zip(masked.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad), name
    assert all(map(torch.equal, masked.state_dict().values(), plain.state_dict().values()))


@pytest.mark.parametrize("views", poolings())
def test_the_order_of_views_does_not_matter(views: str) -> None:
    classifier, clips = normed(views).eval(), torch.randn(3, 4, 3, 2, 4, 4)
    mask = torch.tensor([[True, True, False, True], [False, False, True, False], [True, True, True, True]])
    order = [2, 0, 3, 1]
    torch.testing.assert_close(classifier(clips[:, order], mask[:, order])["a"], classifier(clips, mask)["a"])


@pytest.mark.parametrize("views", poolings())
def test_one_view_is_the_clip_itself_bit_for_bit(views: str) -> None:
    clips = torch.randn(5, 3, 2, 4, 4)
    alone, viewed = normed(views), normed(views)
    out, same = alone(clips)["a"], viewed(clips.unsqueeze(1), torch.ones(5, 1, dtype=torch.bool))["a"]
    assert torch.equal(out, same)
    out.square().sum().backward()
    same.square().sum().backward()
    for ours, theirs in zip(viewed.backbone.parameters(), alone.backbone.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_a_mask_of_only_true_is_no_mask() -> None:
    classifier, clips = normed("mean").eval(), torch.randn(3, 4, 3, 2, 4, 4)
    mask = torch.ones(3, 4, dtype=torch.bool)
    assert torch.equal(classifier(clips, mask)["a"], classifier(clips)["a"])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 3, dtype=torch.bool), r"view mask of 2 videos with 2 views is \(2, 2\), not \(2, 3\)"),
        (torch.tensor([[True, True], [False, False]]), "a video has no view at all"),
    ],
)
def test_masks_that_cannot_be(mask: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normed("mean")(torch.randn(2, 2, 3, 2, 4, 4), mask)


@pytest.mark.parametrize("views", poolings())
def test_features_are_what_the_heads_read(views: str) -> None:
    classifier = normed(views).eval()
    clips, mask = padded(torch.randn(3, 2, 3, 2, 4, 4), absent=1)
    feature = classifier.features(clips, mask)
    assert feature.shape == (3, 3)
    assert torch.equal(classifier.heads["a"](feature), classifier(clips, mask)["a"])


@torch.no_grad()  # with gradients dynamo itself warns, after the graph break where the mask is looked at
def test_through_data_parallel_and_compile() -> None:
    classifier = normed("attention").eval()
    clips, mask = padded(torch.randn(3, 2, 3, 2, 4, 4), absent=1)
    expected = classifier(clips, mask)["a"]
    assert torch.equal(nn.DataParallel(classifier)(clips, mask)["a"], expected)
    compiled = torch.compile(classifier, backend="eager")
    torch.testing.assert_close(compiled(clips, mask)["a"], expected)


@pytest.mark.parametrize("views", poolings())
def test_heads_begin_alike_under_every_pooling(views: str) -> None:
    assert torch.equal(normed(views).heads["a"].weight, normed("mean").heads["a"].weight)


def test_an_aggregator_that_learns_is_a_head() -> None:
    found = dissect(normed("attention"))
    assert [head.name for head in found.heads] == ["pooling", "heads.a"]
    assert [head.name for head in dissect(normed("max")).heads] == ["heads.a"]


def test_what_it_says_of_itself() -> None:
    classifier = VideoClassifier(
        "m", Mean(), 3, {"a": ["x"], "b": ["y", "z"]}, CLIP, multilabel=["b"], views="max"
    )
    assert (classifier.multilabel, classifier.views) == (frozenset({"b"}), "max")
    assert normed("mean").multilabel == frozenset()
    with pytest.raises(ValueError, match="multi-label task 'bb' is no task"):
        VideoClassifier("m", Mean(), 3, {"a": ["x"]}, CLIP, multilabel={"bb"})


def test_dropout_stands_between_feature_and_heads() -> None:
    classifier = model({"a": ["x", "y"]}, dropout=0.999)
    clips = torch.ones(64, 3, 2, 4, 4)
    bias = classifier.heads["a"].bias
    dropped = (classifier(clips)["a"] == bias).all(dim=1)
    assert dropped.sum() > 48
    classifier.eval()
    assert not (classifier(clips)["a"] == bias).all(dim=1).any()


@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (1, 1, 1, 3, 2, 4, 4)])
def test_other_dimensions_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, C, T, H, W\) or \(B, V, C, T, H, W\), not \("):
        model({"a": ["x"]})(torch.zeros(shape))


@pytest.mark.parametrize(
    "tasks", [["type"], ["keys", "keys_"], ["a.b", "a_b"], ["a_b", "a.b", "a.b_"], ["", " "]]
)
def test_any_task_name_will_do(tasks: list[str]) -> None:
    classifier = model({task: ["x", "y"] for task in tasks})
    assert list(classifier(torch.zeros(1, 3, 2, 4, 4))) == tasks
    assert len(set(classifier.head_keys.values())) == len(tasks)
    assert [head.name for head in dissect(classifier).heads] == [
        f"heads.{classifier.head_keys[task]}" for task in tasks
    ]
    again = model({task: ["x", "y"] for task in tasks})
    again.load_state_dict(classifier.state_dict())


def test_a_task_whose_name_needs_no_change_keeps_it() -> None:
    assert model({"a.b": ["x"], "a_b": ["y"]}).head_keys == {"a.b": "a_b_", "a_b": "a_b"}


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({}, "there is no task"),
        ({"a": []}, "task 'a' needs a list of class names"),
        ({"a": "xyz"}, "task 'a' needs a list of class names, not 'xyz'"),
        ({"a": ["x", "y", "x"]}, "task 'a' names class 'x' twice"),
    ],
)
def test_tasks_that_cannot_be(tasks: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(tasks)
