"""One class or several per clip, columns that are no classes at all, and names that look like slips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.formats import Row
from unfreeze.data.formats.base import Names
from unfreeze.data.kinds import check_names, classes_with_few_clips, names_of, with_kinds
from unfreeze.data.manifest import View

SOURCE = Path("labels.csv")


def rows(*labels: Names, task: str = "tags", **others: Sequence[str]) -> list[Row]:
    return [
        Row(
            (View(Path(f"{i}.mp4")),),
            {task: label, **{t: c[i] for t, c in others.items()}},
            f"labels.csv:{i}",
        )
        for i, label in enumerate(labels, 2)
    ]


class TestSeveralClassesPerClip:
    @pytest.mark.parametrize(
        ("cell", "names"),
        [
            ("a|b", ("a", "b")),
            (" a | b|a", ("a", "b")),
            ("a", ("a",)),
            ("|", ()),
            ("a|", ("a",)),
            (None, None),
            (("a", "b c"), ("a", "b c")),
            ((), ()),
        ],
    )
    def test_cells_of_such_a_task(self, cell, names):
        found, several = with_kinds(SOURCE, rows("x|y", cell), ["tags"], [])
        assert several == {"tags"}
        assert found[1].labels["tags"] == names

    def test_without_a_bar_the_task_tells_one_class_and_nothing_is_noted(self):
        notes: list[str] = []
        given = rows("a", None, "b")
        assert with_kinds(SOURCE, given, ["tags"], notes) == (given, frozenset())
        assert notes == []

    def test_it_is_noted_with_the_row(self):
        notes: list[str] = []
        with_kinds(SOURCE, rows("a", "a|b"), ["tags"], notes)
        assert notes == [
            "labels.csv, column 'tags': clips can have several classes, as at labels.csv:3, or with a lone "
            "'|' none: a multi-label task"
        ]

    def test_the_kind_of_a_trained_model_rules(self):
        found, several = with_kinds(SOURCE, rows("a", None), ["tags"], [], known=["tags"])
        assert several == {"tags"}
        assert [row.labels["tags"] for row in found] == [("a",), None]
        with pytest.raises(
            ValueError, match=r"labels.csv:3, column 'tags': several classes \(a\|b\), but the mod"
        ):
            with_kinds(SOURCE, rows("a", "a|b"), ["tags"], [], known=[])

    @given(st.lists(st.text("abc ", min_size=1).map(str.strip).filter(bool), max_size=4))
    def test_names_joined_by_bars_come_back(self, names):
        found, _ = with_kinds(SOURCE, rows("|".join(names) + "|"), ["tags"], [])
        assert names_of(found[0].labels["tags"]) == tuple(dict.fromkeys(names))


NUMBERS = [str(i % 50 + 20) for i in range(60)]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["1", "0.5", "1"], "numbers such as 0.5 (labels.csv:3) are to be measured and not told apart, and"),
        (["1", "2e-3"], "numbers such as 2e-3 (labels.csv:3) are to be measured"),
        ([".5", "-1"], "numbers such as .5 (labels.csv:2) are to be measured"),
        ([str(i * 7) for i in range(9)], "9 different numbers in 9 rows (0, 7, 14 …) are no classes, and"),
        (NUMBERS, "50 different numbers in 60 rows (20, 21, 22 …) are no classes"),
        ([f"clip of day {i}" for i in range(12)], "12 different labels in 12 rows ('clip of day 0', 'clip"),
    ],
)  # fmt: skip
def test_columns_that_are_no_classes(labels, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        check_names(SOURCE, rows(*labels, task="age"), ())
    assert str(caught.value).startswith(f"labels.csv, column 'age': {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "labels",
    [
        ["0", "1", "2"],
        ["1.0", "3.0", "5.0", "1.0"],
        [str(i % 20) for i in range(40)],
        [str(i) for i in range(4)],
        [str(i) for i in range(9)] * 2,
        [*"001122334"],
        [*map(str, range(30)), *["0"] * 40],
        ["0.5x", "1x"],
        ["1", "two", "0.5"],
        [f"class {i % 30}" for i in range(60)],
        [f"class {i}" for i in range(9)],
    ],
)
def test_class_ids_and_names(labels):
    check_names(SOURCE, rows(*labels), ())


def test_the_remedy_names_the_columns_of_classes():
    table = rows("0.5", "0.7", "0.9", task="age", kind="..aba", score=["", "", "1.5", "2.5", "3.5"])
    with pytest.raises(ValueError, match=r"choose the columns of classes: --tasks kind$"):
        check_names(SOURCE, table, ())
    with pytest.raises(ValueError, match=r"; name the classes$"):
        check_names(SOURCE, rows("0.5"), ())


def test_several_numbers_in_a_cell_are_class_ids():
    check_names(SOURCE, with_kinds(SOURCE, rows("1|2", "3", "0.5"), ["tags"], [])[0], {"tags"})


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["left"] * 9 + ["lefft"], "labels.csv:11, column 'm': 'lefft' has 1 clip and 'left' has 9; did you"),
        (["left"] * 9 + ["elft"], "'elft' has 1 clip"),
        (["left"] * 10 + ["lest"] * 2, "'lest' has 2 clips and 'left' has 10; did you mean 'left'?"),
        (["left"] * 5 + ["Left"] * 4, "'Left' has 4 clips and 'left' has 5; did you mean 'left'?"),
        (["high kick"] * 2 + ["high_kick"] * 2, "'high_kick' has 2 clips and 'high kick' has 2; did you"),
        (["spin"] * 9 + ["jump"], "labels.csv:11, column 'm': the class 'jump' has this one clip, too few"),
        (["spin"] * 9 + ["jump", "fall"], "add clips, or blank the label (and 1 more like it)"),
        (["take1"] * 9 + ["take2"], "the class 'take2' has this one clip"),
        (["ab"] * 9 + ["ac"], "the class 'ac' has this one clip"),
    ],
)  # fmt: skip
def test_classes_with_few_clips_are_one_line(labels, said):
    (line,) = classes_with_few_clips(rows(*labels, task="m"))
    assert said in line


@pytest.mark.parametrize(
    "labels",
    [
        ["left"] * 9 + ["right"] * 2,
        ["left"] * 9 + ["lift"] * 3,
        ["left"] * 4 + ["lift"] * 2,
        ["take1"] * 30 + ["take2"] * 2,
        [None, "a", "a"],
    ],
)
def test_classes_that_are_merely_rare_or_alike_are_left_alone(labels):
    assert classes_with_few_clips(rows(*labels)) == []
