import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.order import epoch_order
from unfreeze.training.balance import Balance, sample_weights


def test_full_strength_draws_all_classes_alike(manifest_of):
    manifest = manifest_of(t=[0] * 6 + [1] * 3 + [2])
    found = sample_weights(Balance({"t": ("sampler",)}), manifest)
    assert found == pytest.approx([10 / 18] * 6 + [10 / 9] * 3 + [10 / 3])
    drawn = epoch_order(10, seed=0, epoch=1, shuffle=True, weights=found)
    assert len(drawn) == 10
    many = [
        i for epoch in range(300) for i in epoch_order(10, seed=0, epoch=epoch, shuffle=True, weights=found)
    ]
    share = np.bincount(np.array([0] * 6 + [1] * 3 + [2])[many]) / len(many)
    assert share == pytest.approx([1 / 3] * 3, abs=0.03)


def test_the_rule_for_several_heads_by_hand(manifest_of):
    manifest = manifest_of(motion=[0, 0, 0, 1], thing=[0, 1, None, 1], other=[0, 1, 1, 1])
    balance = Balance({"motion": ("sampler",), "thing": ("weights", "sampler"), "other": ("weights",)})
    # motion: 4 clips / (2 classes * count); thing: three labelled clips, the masked one weighs 1
    motion, thing = [2 / 3, 2 / 3, 2 / 3, 2], [3 / 2, 3 / 4, 1, 3 / 4]
    assert sample_weights(balance, manifest) == pytest.approx(np.mean([motion, thing], axis=0))


def test_a_multi_label_clip_has_the_mean_of_its_classes(manifest_of):
    manifest = manifest_of(t=[(0,), (0,), (0, 1), (), None])
    found = sample_weights(Balance({"t": ("sampler",)}), manifest)
    # class weights 1/3 and 1/1, so 1/3, 1/3 and 2/3, scaled to a mean of 1
    assert found == pytest.approx([3 / 4, 3 / 4, 6 / 4, 1, 1])


def test_the_cap_and_no_sampler(manifest_of):
    manifest = manifest_of(t=[0] * 99 + [1])
    assert sample_weights(Balance({"t": ("weights",)}), manifest) is None
    capped = sample_weights(Balance({"t": ("sampler",)}, cap=5.0), manifest)
    assert capped[-1] == pytest.approx(5)
    assert capped.mean() == pytest.approx(1)


labels = st.none() | st.integers(0, 3)


@given(
    rows=st.lists(st.tuples(labels, labels), min_size=1, max_size=30),
    strength=st.sampled_from(["full", "sqrt", "log"]),
    cap=st.floats(1, 10),
)
def test_the_average_clip_weighs_1(manifest_of, rows, strength, cap):
    a, b = zip(*rows, strict=True)
    balance = Balance({"a": ("sampler",), "b": ("sampler",)}, strength=strength, cap=cap)
    found = sample_weights(balance, manifest_of(classes=4, a=a, b=b))
    assert found.shape == (len(rows),)
    assert found.mean() == pytest.approx(1)
    assert found.min() > 0
    assert found.max() <= cap * (1 + 1e-9)
