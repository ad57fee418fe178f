import numpy as np
import pytest

from unfreeze.training.balance import METHODS, Balance, prior_lines, sample_weights
from unfreeze.training.balance.prior import effective_prior

IMBALANCED = [0] * 6 + [1] * 3 + [2]


def prior_of(manifest, *methods, task="t", **settings):
    balance = Balance({task: methods}, **settings)
    return effective_prior(balance, manifest, task, sample_weights(balance, manifest))


@pytest.mark.parametrize("method", ["weights", "sampler", "logit_adjustment"])
def test_each_remedy_at_full_strength_makes_classes_equal(manifest_of, method):
    prior = prior_of(manifest_of(t=IMBALANCED), method)
    assert prior.data == pytest.approx([0.6, 0.3, 0.1])
    assert prior.effective == pytest.approx([1 / 3] * 3)


def test_two_at_full_strength_turn_it_over(manifest_of):
    for pair in (("weights", "sampler"), ("sampler", "logit_adjustment"), ("weights", "logit_adjustment")):
        inverse = np.array([1 / 6, 1 / 3, 1])
        assert prior_of(manifest_of(t=IMBALANCED), *pair).effective == pytest.approx(inverse / inverse.sum())


def test_focal_moves_no_prior_and_half_the_tau_half_the_way(manifest_of):
    manifest = manifest_of(t=IMBALANCED)
    assert prior_of(manifest, "focal").effective == pytest.approx([0.6, 0.3, 0.1])
    root = np.sqrt([0.6, 0.3, 0.1])
    assert prior_of(manifest, "logit_adjustment", tau=0.5).effective == pytest.approx(root / root.sum())


@pytest.mark.parametrize("method", ["weights", "logit_adjustment"])
def test_a_multi_label_class_is_had_by_half_then(manifest_of, method):
    prior = prior_of(manifest_of(t=[(0,), (0, 1), (0,), ()]), method)
    assert prior.data == pytest.approx([3 / 4, 1 / 4])
    assert prior.effective == pytest.approx([1 / 2, 1 / 2])


def test_nothing_balanced_is_nothing_said(manifest_of):
    assert prior_lines(Balance({"t": ()}), manifest_of(t=IMBALANCED)) == []


def test_one_remedy_is_one_line(manifest_of):
    assert prior_lines(Balance({"t": ("weights",)}), manifest_of(t=IMBALANCED)) == [
        "[BALANCE] t (weights): data a 60.0%, b 30.0%, c 10.0% → effective a 33.3%, b 33.3%, c 33.3%"
    ]
    (line,) = prior_lines(Balance({"t": ("focal",)}), manifest_of(t=IMBALANCED))
    assert line.endswith("effective a 60.0%, b 30.0%, c 10.0%, easy clips played down")


def test_of_many_classes_the_extremes_are_named(manifest_of):
    labels = [label for label in range(8) for _ in range(8 - label)]
    (line,) = prior_lines(Balance({"t": ("weights",)}), manifest_of(t=labels))
    assert line == "[BALANCE] t (weights): data a 22.2% … h 2.8% → effective a 12.5% … h 12.5%"


@pytest.mark.parametrize("first", METHODS)
@pytest.mark.parametrize("second", METHODS)
def test_stacking_warns(manifest_of, first, second):
    if METHODS.index(first) >= METHODS.index(second):
        return
    line, warning = prior_lines(Balance({"t": (first, second)}), manifest_of(t=IMBALANCED))
    assert line.startswith(f"[BALANCE] t ({first}+{second}): ")
    assert warning.startswith(f"[BALANCE] Warning: t stacks {first} and {second}: c, the rarest class, goes ")
    assert warning.endswith(f"one remedy is the rule, as in --balance t={first}")


def test_what_a_sampler_does_to_other_heads_is_said(manifest_of):
    # object's rare class is in motion's common one, so drawing motion's rare class makes it rarer
    manifest = manifest_of(motion=[0] * 8 + [1] * 2, object=[0] * 4 + [1] * 6)
    lines = prior_lines(Balance({"motion": ("sampler",), "object": ()}), manifest)
    assert lines == [
        "[BALANCE] motion (sampler): data a 80.0%, b 20.0% → effective a 50.0%, b 50.0%",
        "[BALANCE] object (sampler of motion): data b 60.0%, a 40.0% → effective b 75.0%, a 25.0%",
        "[BALANCE] Warning: the sampler of motion makes object less equal than it was: a, the rarest class, "
        "goes from 40.0% to 25.0%; --balance motion=sampler object=sampler draws for both",
    ]
    *_, warning = prior_lines(Balance({"motion": ("sampler",), "object": ("weights",)}), manifest)
    assert warning.startswith("[BALANCE] Warning: object has weights on top of the sampler of motion: a, ")


def test_a_class_without_a_training_clip_is_no_obstacle(manifest_of):
    manifest = manifest_of(classes=3, t=[0, 0, 1])
    for methods in (("weights", "sampler"), ("logit_adjustment",), ("effective_number",)):
        prior = prior_of(manifest, *methods)
        assert prior.effective[2] == 0
        assert prior.effective.sum() == pytest.approx(1)
        assert prior_lines(Balance({"t": methods}), manifest)


def test_a_task_without_a_training_label_is_no_obstacle(manifest_of):
    manifest = manifest_of(classes=2, t=[None, None], m=[(), None])
    for method in METHODS:
        assert prior_lines(Balance({"t": (method,), "m": (method,)}), manifest)
