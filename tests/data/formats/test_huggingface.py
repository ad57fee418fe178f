from __future__ import annotations

from pathlib import Path

import pytest

from unfreeze.data.formats import huggingface, recognise


@pytest.fixture
def write(tmp_path):
    def to(**files: str) -> Path:
        for name, text in files.items():
            folder, _, kind = name.rpartition("_")
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"metadata.{kind}").write_text(text)
        return tmp_path

    return to


def read(root: Path) -> list[tuple[str, str | None, str]]:
    rows = huggingface.read(root, None).rows
    return [(row.path.relative_to(root).as_posix(), row.split, row.where) for row in rows]


def test_one_file_at_the_root_and_the_splits_of_the_folders(write):
    root = write(_csv="file_name,label\ntrain/a.mp4,x\nvalidation/b.mp4,x\n")
    assert recognise(root) is huggingface
    assert read(root) == [
        ("train/a.mp4", "train", "metadata.csv:2"), ("validation/b.mp4", "validation", "metadata.csv:3"),
    ]  # fmt: skip


def test_folders_that_are_no_splits_say_nothing(write):
    assert [split for _, split, _ in read(write(_csv="file_name,m\ntrain/a.mp4,x\nclips/b.mp4,x\n"))] == [
        None
    ] * 2


def test_a_column_of_splits_says_more_than_the_folders(write):
    root = write(_csv="file_name,m,split\ntrain/a.mp4,x,test\ntrain/b.mp4,x,val\n")
    assert [split for _, split, _ in read(root)] == ["test", "val"]


def test_one_file_in_each_split(write):
    root = write(
        test_jsonl='{"file_name": "c.mp4"}\n',
        train_jsonl='{"file_name": "a.mp4", "label": "x"}\n{"file_name": "b.mp4", "label": "y"}\n',
    )
    assert recognise(root) is huggingface
    table = huggingface.read(root, None)
    assert [(r.where, r.split, r.labels["label"]) for r in table.rows] == [
        ("test/metadata.jsonl:1", "test", None),
        ("train/metadata.jsonl:1", "train", "x"),
        ("train/metadata.jsonl:2", "train", "y"),
    ]
    assert table.rows[0].path == root / "test" / "c.mp4"


def test_without_such_a_file(tmp_path):
    with pytest.raises(
        ValueError, match=r"has no metadata\.csv or metadata\.jsonl or metadata\.parquet, nor has"
    ):
        huggingface.read(tmp_path, None)
