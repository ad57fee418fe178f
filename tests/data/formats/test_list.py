from __future__ import annotations

from pathlib import Path

import pytest

from unfreeze.data import load_manifest
from unfreeze.data.formats import list as lists
from unfreeze.data.formats import recognise


@pytest.fixture
def write(tmp_path):
    def to(**files: str) -> Path:
        for name, text in files.items():
            (tmp_path / f"{name}.txt").write_text(text)
        return tmp_path

    return to


def read(source: Path) -> list[tuple[str, str | None, str | None]]:
    return [(row.path.name, row.labels["label"], row.split) for row in lists.read(source, None).rows]


@pytest.mark.parametrize(
    ("line", "path", "label"),
    [
        ("a.mp4 3", "a.mp4", "3"),
        ("sub/a clip.mp4\twalk", "a clip.mp4", "walk"),
        ("a.mp4   0  ", "a.mp4", "0"),
        ("a 12.mp4 3", "a 12.mp4", "3"),
        ("a.mp4,walk", "a.mp4", "walk"),
        ("a,b.mp4 walk", "a,b.mp4", "walk"),
    ],
)
def test_the_label_is_the_last_word(write, line, path, label):
    assert read(write(train=line)) == [(path, label, "train")]


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("kinetics400_train_list_videos", "kinetics400_val_list_videos"),
        ("train", "valid"),
        ("ucf101_train_split_1_videos", "ucf101_val_split_1_videos"),
        ("trainlist01", "validationlist01"),
    ],
)
def test_lists_of_a_folder_are_its_splits(write, train, val):
    root = write(**{train: "# by hand\na.mp4 0\n\n", val: "b.mp4 1\n", "readme": "about train and val"})
    assert recognise(root) is lists
    assert read(root) == [("a.mp4", "0", "train"), ("b.mp4", "1", "val")]


def test_lists_of_raw_frames_beside_those_of_videos_are_not_read(write):
    root = write(k_train_list_rawframes="a 100 0\n", k_train_list_videos="a.mp4 0\n")
    assert read(root) == [("a.mp4", "0", "train")]


def test_one_list_names_no_split(write):
    root = write(train="a.mp4 0\n", val="b.mp4 0\n")
    assert recognise(root / "train.txt") is lists
    assert read(root / "train.txt") == [("a.mp4", "0", None)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes", "walk\nplay guitar\nrun\n"),
        ("label_map", "walk\nplay guitar\nrun\n"),
        ("classInd", "1 play guitar\n0 walk\n2 run\n"),
    ],
)
def test_a_file_of_class_names_beside_says_what_numbers_mean(write, name, text):
    root = write(train="a.mp4 1\nb.mp4 0\nc.mp4 1\n", **{name: text})
    table = lists.read(root, None)
    assert [row.labels["label"] for row in table.rows] == ["play guitar", "walk", "play guitar"]
    assert table.classes == {"label": ("walk", "play guitar")}
    assert table.notes[0].endswith("names 3 classes: 1 of them have no clip and are left out")


def test_numbers_without_names_are_classes_in_their_order(write, tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.mp4").touch()
    root = write(train="0.mp4 10\n1.mp4 9\n", val="2.mp4 10\n3.mp4 9\n")
    manifest = load_manifest(root)
    assert manifest.tasks == {"label": ("9", "10")}
    assert [s.row for s in manifest.samples] == ["train.txt:1", "train.txt:2", "val.txt:1", "val.txt:2"]


def test_paths_may_be_relative_to_the_folder_of_videos(write, tmp_path):
    (tmp_path / "videos_train").mkdir()
    (tmp_path / "videos_train" / "a.mp4").touch()
    table = lists.read(write(train="a.mp4 0\nb.mp4 0\n"), None)
    assert [row.path.parent.name for row in table.rows] == ["videos_train", "videos_train"]
    assert table.notes[0].endswith("videos_train, where the first of them is")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"train": "a.mp4\n"}, "train.txt:1: 'a.mp4' has no label; write 'path label' in each line"),
        ({"train": "\n"}, "train.txt is empty; write 'path label' in each line, or remove it"),
        ({"train": "ok.mp4 0\nabseiling/x 300 0\n"}, "train.txt:2: 'abseiling/x' looks like a folder of raw"),
        ({"train": "a.mp4 3 5\n"}, "train.txt:1: a.mp4 has several numbers after it; for several labels of "
         "one clip write a CSV with 3|5 in one cell"),
        ({"train": "a.mp4 3\n", "classes": "x\ny\n"}, "train.txt:1: there is no class 3 in"),
        ({"train": "a.mp4 3\n", "classes": "x\ny\n"}, "classes.txt, which has 0 to 1; correct the number"),
        ({"train": "a.mp4 wlak\n", "classes": "walk\nrun\n"}, "or add the name there; did you mean 'walk'?"),
        ({"train": "a.mp4 walk\n", "classes": "\n"}, "classes.txt is empty; write one class name per line"),
        ({"a_train": "a.mp4 0\n", "b_train": "b.mp4 0\n"}, "two lists for train: a_train.txt and b_train"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_with_the_place(write, files, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        lists.read(write(**files), None)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_with_its_line(write):
    with pytest.raises(ValueError, match=r"train\.txt:1: there is no file .*a\.mp4; paths are relative"):
        load_manifest(write(train="a.mp4 0\n"))


def test_other_encodings_and_folders_without_lists(tmp_path):
    with pytest.raises(ValueError, match=r"no list of a split in its name, such as train\.txt"):
        load_manifest(tmp_path, data_format="list")
    (tmp_path / "train.txt").write_bytes(b"\xe9.mp4 0\n")
    with pytest.raises(ValueError, match=r"train\.txt is not UTF-8"):
        load_manifest(tmp_path)
