"""What holds for all formats: names, recognition, and the same data read alike from each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unfreeze.data import load_manifest
from unfreeze.data.formats import available, get, recognise

CLIPS = {
    "train": [("a.mp4", "run"), ("b.mp4", "walk"), ("c.mp4", "run")],
    "val": [("d.mp4", "walk"), ("e.mp4", "run")],
}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def flat(root: Path) -> list[dict[str, str]]:
    touch(root, *(f"clips/{name}" for clips in CLIPS.values() for name, _ in clips))
    return [
        {"path": f"clips/{name}", "label": label, "split": split}
        for split, clips in CLIPS.items()
        for name, label in clips
    ]


def as_folder(root: Path) -> Path:
    touch(root, *(f"{s}/{label}/{name}" for s, clips in CLIPS.items() for name, label in clips))
    return root


def as_csv(root: Path) -> Path:
    lines = [",".join(row.values()) for row in flat(root)]
    (root / "labels.csv").write_text("\n".join(["path,label,split", *lines]))
    return root


def as_jsonl(root: Path) -> Path:
    (root / "data.jsonl").write_text("\n".join(map(json.dumps, flat(root))))
    return root / "data.jsonl"


def as_parquet(root: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(flat(root)), root / "data.parquet")
    return root / "data.parquet"


def as_list(root: Path) -> Path:
    flat(root)
    for split, clips in CLIPS.items():
        (root / f"mine_{split}_list.txt").write_text("\n".join(f"{n} {label}" for n, label in clips))
    return root


def as_huggingface(root: Path) -> Path:
    for split, clips in (("train", CLIPS["train"]), ("validation", CLIPS["val"])):
        touch(root, *(f"{split}/{name}" for name, _ in clips))
        lines = [f"{name},{label}" for name, label in clips]
        (root / split / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    return root


WRITERS = {
    "csv": as_csv,
    "folder": as_folder,
    "huggingface": as_huggingface,
    "jsonl": as_jsonl,
    "list": as_list,
    "parquet": as_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_data_in_every_format_is_the_same_manifest(tmp_path, name):
    source = WRITERS[name](tmp_path)
    assert recognise(source) is get(name)
    found = [load_manifest(source, data_format=word) for word in ("auto", name)]
    assert found[0] == found[1]
    assert found[0].tasks == {"label": ("run", "walk")}
    samples = {(s.path.name, s.labels["label"], s.split) for s in found[0].samples}
    assert samples == {(n, int(c == "walk"), s) for s, clips in CLIPS.items() for n, c in clips}


def test_every_format_is_written_here_but_the_one_with_classes_of_its_own():
    assert {*available()} == {*WRITERS, "mvfoul"}


def test_an_unknown_format_is_told_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"--data_format: no data format 'kinetcs' \(known: auto, csv, fold"):
        load_manifest(tmp_path, data_format="kinetcs")
    with pytest.raises(ValueError, match=r"no data format 'mvfouls'; did you mean 'mvfoul'\?"):
        load_manifest(tmp_path, data_format="mvfouls")


def test_what_looks_like_two_formats_asks_for_one(tmp_path):
    as_csv(tmp_path)
    (tmp_path / "labels.jsonl").write_text('{"path": "clips/a.mp4", "label": "run"}')
    with pytest.raises(ValueError, match="can be read as csv or as jsonl; choose one with --data_format"):
        recognise(tmp_path)
    assert len(load_manifest(tmp_path, data_format="csv").samples) == 5


@pytest.mark.parametrize("name", ["train.csv", "metadata.csv", "metadata.jsonl", "classes.txt", "val.txt"])
def test_tables_of_other_tools_in_a_folder_of_classes_do_not_matter(tmp_path, name):
    root = as_folder(tmp_path)
    (root / name).write_text("label,youtube_id,time_start\nrun,abc,3\n")
    assert recognise(root) is get("folder")
    assert len(load_manifest(root).samples) == 5


def test_a_folder_of_classes_may_hold_a_list_beside_and_be_forced(tmp_path):
    root = as_folder(tmp_path)
    (root / "train.txt").write_text("train/run/a.mp4 run\n")
    assert recognise(root) is get("list")
    assert len(load_manifest(root, data_format="folder").samples) == 5
