import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.training.metrics import check_monitor, classification_metrics, with_means


def plain_reference(predicted: list[int], labels: list[int]) -> dict[str, float]:
    """The definitions, written out."""
    pairs = [(p, y) for p, y in zip(predicted, labels, strict=True) if y != -1]
    recalls, f1s = [], []
    for c in {y for _, y in pairs} | {p for p, _ in pairs}:
        hits = sum(p == y == c for p, y in pairs)
        truth, said = sum(y == c for _, y in pairs), sum(p == c for p, _ in pairs)
        f1s.append(2 * hits / (truth + said))
        if truth:
            recalls.append(hits / truth)
    return {
        "accuracy": sum(p == y for p, y in pairs) / len(pairs),
        "balanced_accuracy": sum(recalls) / len(recalls),
        "macro_f1": sum(f1s) / len(f1s),
    }


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), min_size=1, max_size=20))
def test_agrees_with_the_definitions(pairs):
    predicted, labels = (list(column) for column in zip(*pairs, strict=True))
    if all(label == -1 for label in labels):
        return
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 4).float()
    found = classification_metrics(logits, torch.tensor(labels))
    assert found == pytest.approx(plain_reference(predicted, labels))


def test_a_class_absent_from_validation_does_not_lower_balanced_accuracy():
    logits = torch.eye(3)[[0, 0, 1, 2]]  # the last clip is of class 1 but called 2
    found = classification_metrics(logits, torch.tensor([0, 0, 1, 1]))
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["accuracy"] == pytest.approx(3 / 4)


def test_no_labels_is_nan_and_a_single_class_cannot_be_missed():
    assert all(map(math.isnan, classification_metrics(torch.eye(2), torch.tensor([-1, -1])).values()))
    assert set(classification_metrics(torch.zeros(2, 1), torch.tensor([0, 0])).values()) == {1.0}


def test_means_are_over_tasks():
    by_task = {"a": {"loss": 1.0, "accuracy": 0.5}, "b": {"loss": 3.0, "accuracy": 1.0}}
    assert with_means(by_task) == {
        "loss": 2.0,
        "accuracy": 0.75,
        "a/loss": 1.0,
        "a/accuracy": 0.5,
        "b/loss": 3.0,
        "b/accuracy": 1.0,
    }
    assert with_means({}) == {}
    diverged = with_means(by_task | {"c": {"loss": math.nan, "accuracy": 0.0}})
    assert math.isnan(diverged["loss"])
    assert diverged["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("val/loss", "min"),
        ("val/error/loss", "min"),
        ("val/accuracy", "max"),
        ("val/error/balanced_accuracy", "max"),
    ],
)
def test_the_mode_follows_from_the_metric_not_from_the_tasks_name(monitor, mode):
    assert check_monitor(monitor, ["error"]) == mode


def test_an_unknown_metric_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"no metric 'val/acuracy'; did you mean 'val/accuracy'\?"):
        check_monitor("val/acuracy", ["motion"])
