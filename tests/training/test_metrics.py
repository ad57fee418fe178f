import math

import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.training.metrics import (
    check_monitor,
    classification_metrics,
    multilabel_metrics,
    with_means,
)


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


def multilabel_reference(said, truth):
    """The definitions, written out; None where there is no class to take the mean over."""
    clips = [(s, t) for s, t in zip(said, truth, strict=True) if t[0] != -1]
    balanced, f1s = [], []
    for c in range(len(said[0])):
        pairs = [(s[c], t[c]) for s, t in clips]
        has, lacks = [s for s, t in pairs if t], [s for s, t in pairs if not t]
        if has:
            sides = [sum(has) / len(has)] + ([1 - sum(lacks) / len(lacks)] if lacks else [])
            balanced.append(sum(sides) / len(sides))
        if has or any(s for s, _ in pairs):
            f1s.append(2 * sum(s and t for s, t in pairs) / (len(has) + sum(s for s, _ in pairs)))
    return {
        "accuracy": sum(s == t for s, t in clips) / len(clips),
        "balanced_accuracy": sum(balanced) / len(balanced) if balanced else math.nan,
        "macro_f1": sum(f1s) / len(f1s) if f1s else math.nan,
    }


bits = st.lists(st.integers(0, 1), min_size=3, max_size=3)


@given(st.lists(st.tuples(bits, bits | st.just([-1] * 3)), min_size=1, max_size=15))
def test_multi_label_metrics_agree_with_the_definitions(rows):
    said, truth = (list(column) for column in zip(*rows, strict=True))
    if all(row[0] == -1 for row in truth):
        return
    probabilities = torch.tensor(said) * 0.4 + 0.3
    found = multilabel_metrics(probabilities, torch.tensor(truth))
    del found["mAP"]
    assert found == pytest.approx(multilabel_reference(said, truth), nan_ok=True)


@given(seed=st.integers(0, 99))
def test_where_every_class_occurs_torchmetrics_says_the_same(seed):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(12, 3, generator=generator)
    truth = torch.randint(2, (12, 3), generator=generator)
    truth[0], truth[1] = 0, 1
    found = multilabel_metrics(probabilities, truth)
    options = {"num_labels": 3, "average": "macro"}
    sides = [
        each(probabilities, truth, **options) for each in (tm.multilabel_recall, tm.multilabel_specificity)
    ]
    assert found == pytest.approx(
        {
            "accuracy": float(tm.multilabel_exact_match(probabilities, truth, num_labels=3)),
            "balanced_accuracy": float(sum(sides)) / 2,
            "macro_f1": float(tm.multilabel_f1_score(probabilities, truth, **options)),
            "mAP": float(tm.multilabel_average_precision(probabilities, truth, **options)),
        }
    )


def test_average_precision_by_hand():
    # found at ranks 1 and 3: (1/1 + 2/3) / 2
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.1], [0.7, 0.1], [0.6, 0.1]])
    truth = torch.tensor([[1, 0], [0, 0], [1, 0], [0, 0]])
    assert multilabel_metrics(probabilities, truth)["mAP"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_multi_label_task_without_labels_or_without_positives_is_nan_where_it_must():
    nothing = multilabel_metrics(torch.rand(2, 2), torch.full((2, 2), -1))
    assert all(map(math.isnan, nothing.values()))
    absent = multilabel_metrics(torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.long))
    assert absent.pop("accuracy") == 1
    assert all(map(math.isnan, absent.values()))


def test_a_metric_of_some_tasks_only_has_no_mean():
    found = with_means({"a": {"accuracy": 0.5}, "b": {"accuracy": 1.0, "mAP": 0.3}})
    assert found == {"accuracy": 0.75, "a/accuracy": 0.5, "b/accuracy": 1.0, "b/mAP": 0.3}


def test_map_can_be_monitored_where_there_is_one():
    assert check_monitor("val/tags/mAP", ["motion", "tags"], {"tags"}) == "max"
    assert check_monitor("val/mAP", ["tags"], {"tags"}) == "max"
    for monitor in ("val/mAP", "val/motion/mAP"):
        with pytest.raises(ValueError, match=f"no metric '{monitor}'"):
            check_monitor(monitor, ["motion", "tags"], {"tags"})
