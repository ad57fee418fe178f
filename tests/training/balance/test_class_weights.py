import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.training.balance import Balance
from unfreeze.training.balance.class_weights import loss_weights, mean_one
from unfreeze.training.balance.counts import training_counts
from unfreeze.training.balance.effective_number import inverse_effective_number
from unfreeze.training.balance.weights import inverse_frequency

counts_of_classes = st.lists(st.integers(0, 500), min_size=1, max_size=12).map(lambda n: np.array(n, float))
some_counts = counts_of_classes.filter(np.any)


def weights_of(manifest, *methods, task="t", **settings):
    balance = Balance({task: methods}, **settings)
    return loss_weights(balance, task, training_counts(manifest, task))


def test_counts_are_those_of_the_training_clips(manifest_of):
    manifest = manifest_of(t=[0, 0, None, 2], m=[(0, 1), (), None, (1,)])
    assert training_counts(manifest, "t").tolist() == [[2, 0, 1]]
    # three labelled clips: one has class 0, two have class 1
    assert training_counts(manifest, "m").tolist() == [[2, 1], [1, 2]]
    weighted = training_counts(manifest, "m", np.array([3.0, 1.0, 5.0, 1.0]))
    assert weighted.tolist() == [[2, 3], [1, 4]]


@pytest.mark.parametrize(
    ("strength", "ratio"),
    [("full", 4), ("sqrt", 2), ("log", math.log(math.e + 7) / math.log(math.e + 1))],
)
def test_weights_by_hand(manifest_of, strength, ratio):
    manifest = manifest_of(t=[0] * 8 + [1] * 2)
    ((common, rare),) = weights_of(manifest, "weights", strength=strength)
    assert rare / common == pytest.approx(ratio)
    assert (8 * common + 2 * rare) / 10 == pytest.approx(1)


def test_full_strength_is_the_usual_balanced_weight(manifest_of):
    # scikit-learn's "balanced": clips / (classes * count)
    found = weights_of(manifest_of(t=[0] * 6 + [1] * 3 + [2] * 1), "weights")
    assert found[0] == pytest.approx([10 / (3 * 6), 10 / (3 * 3), 10 / (3 * 1)])


def test_of_a_multi_label_task_each_class_is_a_choice_of_its_own(manifest_of):
    found = weights_of(manifest_of(t=[(0,), (0, 1), (0,), ()]), "weights")
    # class 0: three of four have it; class 1: one of four
    np.testing.assert_allclose(found, [[4 / 2, 4 / 6], [4 / 6, 4 / 2]])


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999])
def test_effective_number_by_the_papers_formula(beta):
    expected = [1 / sum(beta**i for i in range(n)) for n in (1, 7, 40)]  # E is a geometric sum
    np.testing.assert_allclose(inverse_effective_number(np.array([1.0, 7.0, 40.0]), beta), expected)


def test_two_class_weights_multiply_and_are_scaled_again(manifest_of):
    manifest = manifest_of(t=[0] * 8 + [1] * 2)
    ((common, rare),) = weights_of(manifest, "weights", "effective_number", cap=100.0)
    assert rare / common == pytest.approx(4 * (1 - 0.999**8) / (1 - 0.999**2))
    assert (8 * common + 2 * rare) / 10 == pytest.approx(1)


def test_other_remedies_weigh_nothing(manifest_of):
    manifest = manifest_of(t=[0, 0, 1])
    assert weights_of(manifest) is None
    assert weights_of(manifest, "sampler", "focal", "logit_adjustment") is None


@given(counts=some_counts, cap=st.floats(1, 20), strength=st.sampled_from(["full", "sqrt", "log"]))
def test_the_average_clip_weighs_1_and_none_more_than_the_cap(counts, cap, strength):
    raw = inverse_frequency(counts, strength)
    weights = mean_one(raw, counts, cap)
    assert weights @ counts / counts.sum() == pytest.approx(1)
    assert weights.max() <= cap * (1 + 1e-9)
    assert weights.min() > 0
    # a rarer class never weighs less
    order = np.argsort(counts, kind="stable")
    assert np.all(np.diff(weights[order]) <= 1e-9)
    # below the cap, ratios are those of the raw weights
    free = weights < cap * (1 - 1e-6)
    if cap > 1.001 and free.sum() > 1:
        np.testing.assert_allclose(weights[free] / weights[free][0], raw[free] / raw[free][0])


@given(counts=some_counts)
def test_log_is_gentler_than_sqrt_and_sqrt_gentler_than_full(counts):
    spreads = []
    for strength in ("log", "sqrt", "full"):
        weights = inverse_frequency(counts, strength)
        spreads.append(weights.max() / weights.min())
    assert spreads[0] <= spreads[1] * (1 + 1e-9)
    assert spreads[1] <= spreads[2] * (1 + 1e-9)


def test_no_training_clip_at_all_is_no_weight():
    assert mean_one(np.array([0.5, 0.5]), np.zeros(2), 10).tolist() == [1, 1]
