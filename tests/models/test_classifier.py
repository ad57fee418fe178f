"""``VideoClassifier`` on a backbone small enough to check by hand."""

import pytest
import torch
from torch import nn

from unfreeze.anatomy import dissect
from unfreeze.models import VideoClassifier
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


def model(tasks: dict[str, list[str]], dropout: float = 0.0) -> VideoClassifier:
    return VideoClassifier("mean", Mean(), 3, tasks, CLIP, dropout)


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
