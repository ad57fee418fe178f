"""The picture of a confusion matrix: it is there, can be read, and its colours say what the counts say."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from unfreeze.report.confusion import plot_confusion, plot_reports

DARKEST = np.array([0x08, 0x30, 0x6B]) / 255  # the end of matplotlib's Blues


def report(confusion, names=None, multilabel=False, balanced=0.5):
    rows = np.array(confusion)
    support = rows[:, 1].sum(-1) if multilabel else rows.sum(-1)
    names = names or [f"class {number}" for number in range(len(rows))]
    return {
        "clips": int(support.sum()),
        "multilabel": multilabel,
        "balanced_accuracy": balanced,
        "interval": None if balanced is None else {"low": 0.4, "high": 0.6, "level": 0.95, "draws": 1000},
        "classes": [{"name": name, "support": int(n)} for name, n in zip(names, support, strict=True)],
        "confusion": rows.tolist(),
    }


def draw(folder, *arguments, **options):
    """The picture as (height, width, 3) in 0 … 1."""
    plot_confusion(report(*arguments, **options), folder / "confusion.png", "motion")
    return imread(folder / "confusion.png")[..., :3]


def dark_centre(picture):
    """The mean place (x, y) and the area of what is all of its row; the colour bar is left out."""
    found = np.abs(picture - DARKEST).max(axis=-1) < 0.01
    found[:, int(0.84 * picture.shape[1]) :] = False
    y, x = np.nonzero(found)
    return x.mean() / picture.shape[1], y.mean() / picture.shape[0], len(x)


def test_rows_are_true_classes_and_colours_are_shares_of_them(tmp_path):
    # a handful of rare clips is as dark as a thousand of the common class
    x, y, area = dark_centre(draw(tmp_path, [[0, 1000], [2, 2]]))
    assert x > 0.5 > y
    assert area > 5_000
    x, y, _ = dark_centre(draw(tmp_path, [[500, 500], [2, 0]]))
    assert x < 0.5 < y


def test_a_class_of_a_multi_label_task_is_a_row_of_its_own(tmp_path):
    # the first class is always found and never said in vain, the second is the reverse
    picture = draw(tmp_path, [[[4, 4], [0, 3]], [[1, 1], [5, 0]]], multilabel=True)
    found = np.abs(picture - DARKEST).max(axis=-1) < 0.01
    found[:, int(0.84 * picture.shape[1]) :] = False
    half = picture.shape[0] // 2
    x_of_first, x_of_second = (np.nonzero(part)[1].mean() for part in (found[:half], found[half:]))
    assert x_of_first < x_of_second


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (1, None),
        (2, ["$\\q$ & {y", "long " * 40]),
        (3, ["动作", "b", "c"]),  # the font has no such glyphs
        (60, None),
        (300, None),
    ],
)
def test_any_number_of_classes_can_be_drawn(tmp_path, classes, names):
    confusion = 3 * np.eye(classes, dtype=int)
    confusion[0] += 1
    height, width, _ = draw(tmp_path, confusion, names).shape
    assert 400 < height < 3500
    assert 600 < width < 3500


@pytest.mark.parametrize("multilabel", [False, True])
def test_nothing_labelled_is_an_empty_matrix(tmp_path, multilabel):
    shape = (2, 2, 2) if multilabel else (2, 2)
    draw(tmp_path, np.zeros(shape, dtype=int), multilabel=multilabel, balanced=None)


def test_every_task_has_a_picture_of_its_own_whatever_it_is_called(tmp_path):
    tasks = ["left/right", "left right", "Left_Right", "..", "ü"]
    pictures = plot_reports({task: report([[1, 0], [1, 2]]) for task in tasks}, tmp_path)
    names = ["left_right", "left_right_2", "Left_Right_3", "task", "ü"]
    assert pictures == [tmp_path / f"confusion_{name}.png" for name in names]
    assert sorted(tmp_path.iterdir()) == sorted(pictures)


def test_pyplot_stays_out_of_it(tmp_path):
    code = (
        "import sys; from pathlib import Path; from unfreeze.report.confusion import plot_confusion;"
        "assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules;"
        f"plot_confusion({report([[1, 0], [1, 2]])!r}, Path({str(tmp_path / 'again.png')!r}));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (tmp_path / "again.png").stat().st_size > 1000
