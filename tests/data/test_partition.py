"""Folds and hold-out on rows: what stays together, what is said, and which flags contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.formats import Row
from unfreeze.data.manifest import View
from unfreeze.data.partition import check_folds, hold_out, one_fold, units_of

SOURCE = Path("/data/labels.csv")


def row(label: str | tuple[str, ...], *files: str, group: str | None = None, split: str | None = None) -> Row:
    return Row(
        tuple(View(Path("/data") / file) for file in files), {"m": label}, f"{files[0]}:1", split, group
    )


# Events in one to three views, which may share files and groups with others.
rows_of_events = st.lists(
    st.builds(
        lambda label, files, group: row(label, *(f"{f}.mp4" for f in files), group=group),
        st.sampled_from(["a", "b", "c", (), ("a",), ("a", "b")]),
        st.lists(st.integers(0, 80), min_size=1, max_size=3, unique=True),
        st.none() | st.sampled_from("uvwxyz"),
    ),
    min_size=2,
    max_size=40,
)


def sides(rows: list[Row]) -> dict[str, set[str | None]]:
    """For every file and group, the splits in which it is."""
    found: dict[str, set[str | None]] = {}
    for one in rows:
        for name in [*(str(view.path) for view in one.views), *([f"group {one.group}"] if one.group else [])]:
            found.setdefault(name, set()).add(one.split)
    return found


@given(rows=rows_of_events, folds=st.integers(2, 4), seed=st.integers(0, 9))
def test_every_clip_is_validated_in_one_fold_and_no_group_or_file_is_torn(rows, folds, seed):
    if len(set(units_of(SOURCE, rows))) < folds:
        with pytest.raises(
            ValueError, match=rf"{folds} folds of \d+ (groups|clips); choose fewer with --folds"
        ):
            one_fold(SOURCE, rows, folds, 1, seed, [])
        return
    found = [one_fold(SOURCE, rows, folds, fold, seed, []) for fold in range(1, folds + 1)]
    for split in found:
        assert all(len(where) == 1 for where in sides(split).values())
        assert [(one.views, one.labels) for one in split] == [(one.views, one.labels) for one in rows]
    held = [[one.split for one in split] for split in found]
    assert all([*column].count("val") == 1 for column in zip(*held, strict=True))
    assert held == [
        [one.split for one in one_fold(SOURCE, rows, folds, fold, seed, [])] for fold in range(1, folds + 1)
    ]


@given(rows=rows_of_events, fraction=st.floats(0.1, 0.5), seed=st.integers(0, 9))
def test_a_share_held_out_tears_nothing_and_leaves_every_class_to_train(rows, fraction, seed):
    try:
        found = hold_out(SOURCE, rows, fraction, seed, [])
    except ValueError as error:
        assert "to validate on; add clips" in str(error)  # noqa: PT017
        return
    assert all(len(where) == 1 for where in sides(found).values())
    labels = [(one.labels["m"], one.split) for one in found]
    names = {n for label, _ in labels for n in ([label] if isinstance(label, str) else label)}
    assert names == {
        n
        for label, split in labels
        if split == "train"
        for n in ([label] if isinstance(label, str) else label)
    }


def test_what_is_linked_through_others_is_one_unit():
    rows = [
        row("a", "1.mp4", "2.mp4"),
        row("a", "2.mp4", "3.mp4"),
        row("a", "4.mp4", group="u"),
        row("a", "3.mp4", group="u"),
        row("a", "5.mp4", group="v"),
        row("a", "6.mp4"),
    ]
    assert units_of(SOURCE, rows) == ["group u"] * 4 + ["group v", "file 6.mp4"]


def test_named_splits_are_pooled_and_test_stays():
    rows = [row("ab"[i % 2], f"{i}.mp4", split=("train", "val", "test")[i % 3]) for i in range(24)]
    notes: list[str] = []
    found = one_fold(SOURCE, rows, 4, 2, 0, notes)
    assert [one.split == "test" for one in found] == [one.split == "test" for one in rows]
    assert [one.split for one in found].count("val") == 4
    assert notes == [
        "/data/labels.csv names splits: train and val are pooled to make folds, test stays as it is",
        "/data/labels.csv, fold 2 of 4: 12 clips to train and 4 to validate on, chosen by class with seed 0",
    ]


def test_clips_of_no_class_are_a_kind_of_their_own_to_stratify():
    rows = [row(("a",) if i % 2 else (), f"{i}.mp4") for i in range(40)]
    found = hold_out(SOURCE, rows, 0.25, 0, [])
    assert sorted(one.labels["m"] for one in found if one.split == "val") == [()] * 5 + [("a",)] * 5


@pytest.mark.parametrize(
    ("folds", "fold", "said"),
    [
        (5, None, r"--folds 5 needs --fold, the one \(1 to 5\) to validate on"),
        (None, 2, "--fold 2 says nothing without --folds; add --folds"),
        (5, 6, "--fold 6 is none of the 5 folds; choose one from 1 to 5"),
        (5, 0, "--fold 0 is none of the 5 folds"),
        (1, 1, "--folds must be at least 2, not 1"),
    ],
)
def test_flags_that_contradict_each_other(folds, fold, said):
    with pytest.raises(ValueError, match=said):
        check_folds(folds, fold)


def test_flags_that_do_not():
    check_folds(None, None)
    check_folds(5, 5)
