from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unfreeze.data.splits import choose_folds, choose_val, split_named

labels = st.tuples(st.sampled_from(["motion", "object"]), st.sampled_from("abcd"))
groups = st.dictionaries(
    st.integers(0, 40).map(str),
    st.lists(labels, min_size=1, max_size=6).map(Counter),
    min_size=1,
    max_size=25,
)
fractions = st.floats(0.05, 0.5)


@given(groups=groups, fraction=fractions, seed=st.integers(0, 99))
def test_every_label_is_left_to_train_on(groups, fraction, seed):
    val = choose_val(groups, fraction=fraction, seed=seed)
    assert val < set(groups)
    everywhere = set().union(*groups.values())
    assert set().union(*(groups[g] for g in groups if g not in val)) == everywhere


@given(groups=groups, fraction=fractions, seed=st.integers(0, 99))
def test_the_choice_depends_on_seed_and_groups_but_not_on_their_order(groups, fraction, seed):
    turned = dict(reversed(groups.items()))
    assert choose_val(groups, fraction=fraction, seed=seed) == choose_val(
        turned, fraction=fraction, seed=seed
    )


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6), fraction=fractions, seed=st.integers(0, 99)
)
def test_single_clips_are_split_class_by_class_to_the_fraction(sizes, fraction, seed):
    clips = {f"{c}/{i}": Counter([("label", str(c))]) for c, size in enumerate(sizes) for i in range(size)}
    val = choose_val(clips, fraction=fraction, seed=seed)
    for c, size in enumerate(sizes):
        chosen = sum(clip.startswith(f"{c}/") for clip in val)
        assert chosen == 0 if size == 1 else abs(chosen - max(1, fraction * size)) < 1


def test_two_tasks_are_stratified_at_once():
    clips = {str(i): Counter([("motion", "abcd"[i % 4]), ("object", "xyz"[i % 3])]) for i in range(240)}
    val = choose_val(clips, fraction=0.25, seed=0)
    count = sum((clips[clip] for clip in val), Counter())
    assert all(abs(count["motion", m] - 15) <= 1 for m in "abcd")
    assert all(abs(count["object", o] - 20) <= 1 for o in "xyz")


def test_two_large_groups_go_one_to_each_side():
    pair = {
        "ann": Counter({("label", "a"): 5, ("label", "b"): 4}),
        "bob": Counter({("label", "a"): 5, ("label", "b"): 6}),
    }
    assert len(choose_val(pair, fraction=0.2, seed=0)) == 1


def test_the_largest_group_is_placed_first():
    groups = {name: Counter({("label", "a"): size}) for name, size in (("ann", 8), ("bob", 1), ("cy", 1))}
    for seed in range(10):
        assert choose_val(groups, fraction=0.2, seed=seed) == {"bob", "cy"}


def test_another_seed_chooses_others():
    clips = {str(i): Counter([("label", "a")]) for i in range(40)}
    assert choose_val(clips, fraction=0.2, seed=0) != choose_val(clips, fraction=0.2, seed=1)


folds_of = st.integers(2, 5)


@given(groups=groups, folds=folds_of, seed=st.integers(0, 99))
def test_every_group_is_in_one_fold_and_no_fold_is_empty(groups, folds, seed):
    assume(len(groups) >= folds)
    found = choose_folds(groups, folds=folds, seed=seed)
    assert set(found) == set(groups)
    assert set(found.values()) == set(range(1, folds + 1))


@given(groups=groups, folds=folds_of, seed=st.integers(0, 99))
def test_folds_depend_on_seed_and_groups_but_not_on_their_order(groups, folds, seed):
    assume(len(groups) >= folds)
    turned = dict(reversed(groups.items()))
    assert choose_folds(groups, folds=folds, seed=seed) == choose_folds(turned, folds=folds, seed=seed)


@given(sizes=st.lists(st.integers(2, 40), min_size=1, max_size=6), folds=folds_of, seed=st.integers(0, 99))
def test_folds_of_single_clips_share_every_class_to_the_clip(sizes, folds, seed):
    clips = {f"{c}/{i}": Counter([("label", str(c))]) for c, size in enumerate(sizes) for i in range(size)}
    assume(len(clips) >= folds)
    found = choose_folds(clips, folds=folds, seed=seed)
    for c, size in enumerate(sizes):
        held = Counter(fold for clip, fold in found.items() if clip.startswith(f"{c}/"))
        assert len(held) > 1
        assert all(abs(held[fold] - size / folds) < 1 for fold in range(1, folds + 1))


@given(groups=groups, folds=folds_of, seed=st.integers(0, 99))
def test_a_label_of_one_task_in_two_groups_is_always_trained(groups, folds, seed):
    one = {name: Counter([min(labels)]) for name, labels in groups.items()}
    assume(len(one) >= 2 * folds)
    found = choose_folds(one, folds=folds, seed=seed)
    members: dict[tuple[str, str], set[int]] = {}
    for name, labels in one.items():
        members.setdefault(next(iter(labels)), set()).add(found[name])
    count = Counter(next(iter(labels)) for labels in one.values())
    assert all(len(within) > 1 for label, within in members.items() if count[label] > 1)


def test_the_last_group_of_a_label_avoids_the_only_fold_that_has_it():
    people = {
        "ann": Counter({("o", "c"): 4, ("m", "d"): 2}),
        "bob": Counter({("o", "c"): 2, ("m", "b"): 1}),
        "cy": Counter({("m", "c"): 3, ("o", "a"): 3}),
    }
    for seed in range(10):
        found = choose_folds(people, folds=2, seed=seed)
        assert found["ann"] != found["bob"]


def test_folds_of_groups_are_stratified():
    """60 people with 5 clips each, whose classes differ in frequency."""
    people = {str(i): Counter({("label", "abc"[i % 3]): 3, ("label", "d"): 2}) for i in range(60)}
    found = choose_folds(people, folds=5, seed=1)
    for fold in range(1, 6):
        held = sum((people[name] for name in people if found[name] == fold), Counter())
        assert held == {("label", "a"): 12, ("label", "b"): 12, ("label", "c"): 12, ("label", "d"): 24}


def test_groups_without_any_label_are_spread_too():
    found = choose_folds({str(i): Counter() for i in range(9)}, folds=3, seed=0)
    assert set(found.values()) == {1, 2, 3}


def test_another_seed_makes_other_folds():
    clips = {str(i): Counter([("label", "a")]) for i in range(40)}
    assert choose_folds(clips, folds=4, seed=0) != choose_folds(clips, folds=4, seed=1)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("VALID", "val"),
        ("validation", "val"),
        ("test", "test"),
        ("tset", None),
    ],
)
def test_names_of_splits(name, split):
    assert split_named(name) == split
