import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.training.class_report import class_report, class_reports
from unfreeze.training.evaluate import Evaluation
from unfreeze.training.metrics import classification_metrics, multilabel_metrics


def report_of(said, labels, names="abc", **options):
    probabilities = torch.nn.functional.one_hot(torch.tensor(said), len(names)).float()
    return class_report(probabilities, torch.tensor(labels), tuple(names), **options)


def test_a_table_by_hand():
    found = report_of(said=[0, 0, 1, 1, 0, 2], labels=[0, 0, 0, 1, 1, -1])
    assert found["clips"] == 5
    assert found["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    a, b, c = found["classes"]
    assert a == pytest.approx(
        {"name": "a", "recall": 2 / 3, "precision": 2 / 3, "f1": 2 / 3, "support": 3, "predicted": 3}
    )
    assert b == pytest.approx(
        {"name": "b", "recall": 1 / 2, "precision": 1 / 2, "f1": 1 / 2, "support": 2, "predicted": 2}
    )
    assert c == {"name": "c", "recall": None, "precision": None, "f1": None, "support": 0, "predicted": 0}
    json.dumps(found, allow_nan=False)


def test_a_multi_label_table_by_hand():
    probabilities = torch.tensor([[0.9, 0.2], [0.8, 0.7], [0.1, 0.6], [0.4, 0.4]])
    labels = torch.tensor([[1, 0], [0, 1], [1, 1], [-1, -1]])
    found = class_report(probabilities, labels, ("a", "b"), True)
    assert found["clips"] == 3
    assert found["confusion"] == [[[0, 1], [1, 1]], [[1, 0], [0, 2]]]
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["balanced_accuracy"] == pytest.approx(((1 / 2 + 0) / 2 + 1) / 2)
    a, b = found["classes"]
    assert a == pytest.approx(
        {"name": "a", "recall": 1 / 2, "precision": 1 / 2, "f1": 1 / 2, "support": 2, "predicted": 2}
    )
    assert b == pytest.approx(
        {"name": "b", "recall": 1, "precision": 1, "f1": 1, "support": 2, "predicted": 2}
    )
    json.dumps(found, allow_nan=False)


pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), min_size=1, max_size=25)


@given(pairs)
def test_the_report_says_what_the_metrics_say(rows):
    said, labels = (list(column) for column in zip(*rows, strict=True))
    found = report_of(said, labels, names="abcd")
    logits = torch.nn.functional.one_hot(torch.tensor(said), 4).float()
    metrics = classification_metrics(logits, torch.tensor(labels))
    if found["clips"]:
        for name in ("accuracy", "balanced_accuracy"):
            assert found[name] == pytest.approx(metrics[name])
        f1s = [row["f1"] for row in found["classes"] if row["f1"] is not None]
        assert np.mean(f1s) == pytest.approx(metrics["macro_f1"])
        interval = found["interval"]
        assert 0 <= interval["low"] <= interval["high"] <= 1
    else:
        assert found["accuracy"] is found["balanced_accuracy"] is found["interval"] is None
    assert sum(map(sum, found["confusion"])) == found["clips"]
    json.dumps(found, allow_nan=False)


@given(clips=st.integers(1, 12), seed=st.integers(0, 99), rare=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_the_multi_label_report_says_what_the_metrics_say(clips, seed, rare):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(clips, 3, generator=generator)
    labels = (torch.rand(clips, 3, generator=generator) < rare).long()
    found, metrics = (
        class_report(probabilities, labels, "abc", True),
        multilabel_metrics(probabilities, labels),
    )
    assert found["accuracy"] == pytest.approx(metrics["accuracy"])
    if found["balanced_accuracy"] is None:
        assert not labels.any()
        assert found["interval"] is None
    else:
        assert found["balanced_accuracy"] == pytest.approx(metrics["balanced_accuracy"])
        assert 0 <= found["interval"]["low"] <= found["interval"]["high"] <= 1
    json.dumps(found, allow_nan=False)


def redrawn_plainly(said, labels, generator):
    """Balanced accuracy of one set of clips redrawn within each class, clip by clip."""
    recalls = []
    for c in sorted(set(labels)):
        of_class = [s == c for s, y in zip(said, labels, strict=True) if y == c]
        recalls.append(np.mean([of_class[generator.integers(len(of_class))] for _ in of_class]))
    return np.mean(recalls)


def test_the_interval_is_that_of_a_bootstrap_done_clip_by_clip():
    labels = [0] * 30 + [1] * 15 + [2] * 8
    said = [0] * 24 + [1] * 6 + [1] * 9 + [2] * 6 + [2] * 4 + [0] * 4
    found = report_of(said, labels)["interval"]
    generator = np.random.default_rng(5)
    drawn = [redrawn_plainly(said, labels, generator) for _ in range(2000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found["low"] == pytest.approx(low, abs=0.02)
    assert found["high"] == pytest.approx(high, abs=0.02)
    assert (found["level"], found["draws"]) == (0.95, 1000)


def test_the_multi_label_interval_is_that_of_a_bootstrap_done_clip_by_clip():
    generator = np.random.default_rng(1)
    truth = generator.random((40, 3)) < [0.1, 0.5, 0.9]
    said = truth ^ (generator.random((40, 3)) < 0.25)
    found = class_report(torch.from_numpy(said * 1.0), torch.from_numpy(truth).long(), "abc", True)
    drawn = []
    for _ in range(1500):
        picks = generator.integers(40, size=40)
        metrics = multilabel_metrics(
            torch.from_numpy(said[picks] * 1.0), torch.from_numpy(truth[picks]).long()
        )
        drawn.append(metrics["balanced_accuracy"])
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found["interval"]["low"] == pytest.approx(low, abs=0.02)
    assert found["interval"]["high"] == pytest.approx(high, abs=0.02)


def test_the_interval_narrows_with_clips_and_is_the_same_each_time():
    def width(times):
        interval = report_of([0, 0, 1, 1] * times, [0, 1, 1, 0] * times, "ab")["interval"]
        return interval["high"] - interval["low"]

    assert width(100) < width(10) / 2
    assert report_of([0, 1], [1, 1], "ab", seed=3) == report_of([0, 1], [1, 1], "ab", seed=3)


def test_all_tasks_of_an_evaluation():
    probabilities = {"s": torch.eye(2), "m": torch.eye(2)}
    evaluation = Evaluation(
        {}, probabilities, {"s": torch.tensor([0, 1]), "m": torch.eye(2).long()}, torch.arange(2)
    )
    found = class_reports(evaluation, {"s": ("a", "b"), "m": ("x", "y")}, {"m"})
    assert {task: report["multilabel"] for task, report in found.items()} == {"s": False, "m": True}
    assert [row["name"] for row in found["m"]["classes"]] == ["x", "y"]
    assert all(report["balanced_accuracy"] == 1 for report in found.values())
