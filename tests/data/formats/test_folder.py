from __future__ import annotations

from pathlib import Path

import pytest

from unfreeze.data.formats import folder, recognise


@pytest.fixture
def tree(tmp_path):
    def make(*files: str) -> Path:
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def read(root: Path) -> list[tuple[str, str | None, str | None]]:
    return [(row.where, row.labels["label"], row.split) for row in folder.read(root, None).rows]


def test_train_and_val_with_class_folders(tree):
    root = tree(
        "train/walk/b.mp4", "train/walk/a.MOV", "train/run/c.webm", "Validation/walk/d.mp4", "test/run/e.avi"
    )
    assert recognise(root) is folder
    assert sorted(read(root)) == [
        ("Validation/walk/d.mp4", "walk", "val"),
        ("test/run/e.avi", "run", "test"),
        ("train/run/c.webm", "run", "train"),
        ("train/walk/a.MOV", "walk", "train"),
        ("train/walk/b.mp4", "walk", "train"),
    ]


def test_one_level_of_class_folders_names_no_splits(tree):
    root = tree("run/a.mp4", "walk/b.mp4", "walk/deeper/c.mp4")
    assert read(root) == [
        ("run/a.mp4", "run", None), ("walk/b.mp4", "walk", None), ("walk/deeper/c.mp4", "walk", None),
    ]  # fmt: skip


def test_a_class_may_be_called_train(tree):
    assert read(tree("bus/a.mp4", "train/b.mp4")) == [
        ("bus/a.mp4", "bus", None),
        ("train/b.mp4", "train", None),
    ]


def test_the_order_is_that_of_the_names_not_of_the_disk(tree):
    root = tree(*(f"{c}/{i}.mp4" for c in "cab" for i in (3, 1, 2)))
    assert [where for where, _, _ in read(root)] == [f"{c}/{i}.mp4" for c in "abc" for i in (1, 2, 3)]


def test_what_is_left_aside_is_said_and_hidden_files_are_not_there(tree):
    root = tree(
        "run/a.mp4",
        "run/notes.txt",
        "walk/b.mp4",
        "loose.mp4",
        "loose2.mp4",
        "run/._a.mp4",
        ".git/x.mp4",
        "README",
    )
    (root / "jump").mkdir()
    table = folder.read(root, None)
    assert [row.where for row in table.rows] == ["run/a.mp4", "walk/b.mp4"]
    assert table.notes == (
        f"{root}/jump has no videos: the class is left out of the data",
        f"{root}/loose.mp4 and 1 more: in no class folder, left aside",
        f"{root}: 2 files without a video extension left aside",
    )


def test_folders_beside_the_splits_are_left_aside(tree):
    root = tree("train/run/a.mp4", "val/run/b.mp4", "raw/c.mp4")
    table = folder.read(root, None)
    assert [row.where for row in table.rows] == ["train/run/a.mp4", "val/run/b.mp4"]
    assert table.notes == (f"{root}/raw/c.mp4: in no class folder, left aside",)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), "has no videos; make one subfolder per class"),
        (("run/a.txt",), "has no videos"),
        (("a.mp4", "b.mp4"), "has 2 videos, none of them in a class folder"),
        (("train/a.mp4",), None),
    ],
)
def test_without_videos_in_class_folders(tree, files, said):
    root = tree(*files)
    if said is None:
        assert read(root) == [("train/a.mp4", "train", None)]
        return
    with pytest.raises(ValueError, match=said):
        folder.read(root, None)


def test_there_is_one_task(tree):
    root = tree("run/a.mp4")
    assert folder.read(root, ["label"]).tasks == ("label",)
    with pytest.raises(ValueError, match=r"has no task 'labels'; did you mean 'label'\? \(it has label\)"):
        folder.read(root, ["labels"])
