from __future__ import annotations

import json
from pathlib import Path

import pytest

from unfreeze.data.manifest import Manifest, Sample, View, class_order, indices_of


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        tasks={"motion": ("left", "right"), "object": ("ball", "box"), "tags": ("a", "b", "c")},
        samples=(
            Sample(
                (View(Path("a.mp4")),),
                "train",
                {"motion": 0, "object": None, "tags": ()},
                "g1",
                "labels.csv:2",
            ),
            Sample(
                (View(Path("b.mp4")),), "val", {"motion": 1, "object": 0, "tags": (1,)}, None, "labels.csv:3"
            ),
            Sample(
                (View(Path("c.mp4"), 1.5, 4.0), View(Path("d.mp4"))),
                "train",
                {"motion": 0, "object": 1, "tags": (0, 2)},
                "g1",
                "labels.csv:4",
            ),
        ),
        source="labels.csv",
        notes=("a note",),
        multilabel=frozenset({"tags"}),
    )


def test_splits_keep_the_order_of_the_source(manifest):
    assert [s.path.name for s in manifest.split("train")] == ["a.mp4", "c.mp4"]
    assert manifest.split("test") == ()
    with pytest.raises(ValueError, match="unknown split 'vall'"):
        manifest.split("vall")


def test_counts_are_per_class_without_masked_clips(manifest):
    assert manifest.counts("motion", "train") == {"left": 2, "right": 0}
    assert manifest.counts("object", "train") == {"ball": 0, "box": 1}


def test_a_clip_counts_in_each_class_of_a_multi_label_task(manifest):
    assert manifest.counts("tags", "train") == {"a": 1, "b": 0, "c": 1}
    assert [indices_of(label) for label in (None, 3, (), (0, 2))] == [(), (3,), (), (0, 2)]


def test_plain_data_and_back(manifest):
    assert Manifest.from_dict(json.loads(json.dumps(manifest.to_dict()))) == manifest


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["b", "a", "b"], ("a", "b")),
        (["take10", "take2", "take1"], ("take1", "take2", "take10")),
        (["10", "9", "x", "1a"], ("1a", "9", "10", "x")),
        (["1.5", "1.0", "10.0", "2"], ("1.0", "1.5", "2", "10.0")),
        (["a1", "a01", "a"], ("a", "a01", "a1")),
    ],
)
def test_classes_are_sorted_with_numbers_in_natural_order(names, order):
    assert class_order(names) == order
    assert class_order(reversed(names)) == order
