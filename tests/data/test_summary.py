from __future__ import annotations

from pathlib import Path

from unfreeze.data.manifest import Manifest, Sample, View
from unfreeze.data.summary import class_lines


def manifest(**tasks: tuple[tuple[str, ...], list]) -> Manifest:
    labels = {task: given for task, (_, given) in tasks.items()}
    count = len(next(iter(labels.values())))
    samples = tuple(
        Sample((View(Path(f"{i}.mp4")),), "train" if i % 3 else "val", {t: labels[t][i] for t in labels})
        for i in range(count)
    )
    multilabel = frozenset(t for t in labels if any(isinstance(label, tuple) for label in labels[t]))
    return Manifest({t: names for t, (names, _) in tasks.items()}, samples, "x", (), multilabel)


def test_classes_and_counts_of_every_task_by_split():
    data = manifest(
        motion=(("left", "right", "up"), [0, 1, 0, 0, 1, 1]),
        tags=(("a", "b"), [(0,), (), (0, 1), None, (1,), (1,)]),
    )
    assert class_lines(data) == [
        "motion: 3 classes",
        "         train  val",
        "  left       1    2",
        "  right      3    0",
        "  up         0    0",
        "tags: 2 classes, of which a clip may have several",
        "              train  val",
        "  a               1    1",
        "  b               3    0",
        "  (no label)      0    1",
    ]


def test_of_many_classes_the_most_frequent_are_shown():
    names = tuple(f"c{i:02}" for i in range(40))
    lines = class_lines(
        manifest(m=(names, [i for i in range(40) for _ in range(3 * (1 + i // 20))])), limit=20
    )
    assert lines[2].split() == ["c20", "4", "2"]
    assert lines[-2].split() == ["c39", "4", "2"]
    assert lines[-1] == "  and 20 more classes, with 2 to 2 clips in train"
