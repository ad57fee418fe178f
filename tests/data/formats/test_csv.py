from __future__ import annotations

from pathlib import Path

import pytest

from unfreeze.data.formats import Row, available, csv, recognise


@pytest.fixture
def write(tmp_path):
    def to(content: str | bytes) -> Path:
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / "labels.csv").write_bytes(data)
        return tmp_path / "labels.csv"

    return to


def test_rows_as_written(write, tmp_path):
    table = csv.read(write("path,motion,split,group\na.mp4,left,train,ann\n\nsub/b.mp4,,val,\n"), None)
    assert table.tasks == ("motion",)
    assert table.rows == (
        Row(tmp_path / "a.mp4", {"motion": "left"}, "labels.csv:2", "train", "ann"),
        Row(tmp_path / "sub" / "b.mp4", {"motion": None}, "labels.csv:4", "val", None),
    )


def test_an_absolute_path_stays_one(write, tmp_path):
    table = csv.read(write(f"path,motion\n{tmp_path.parent}/a.mp4,left\n"), None)
    assert table.rows[0].path == tmp_path.parent / "a.mp4"


def test_quotes_spaces_line_ends_and_the_mark_of_excel(write):
    content = '\ufeffpath, motion ,"what, exactly"\r\n"a, b.mp4", left ,"x"\r\n'
    table = csv.read(write(content), None)
    assert table.tasks == ("motion", "what, exactly")
    assert table.rows[0].path.name == "a, b.mp4"
    assert table.rows[0].labels == {"motion": "left", "what, exactly": "x"}


@pytest.mark.parametrize(
    ("tasks", "kept"),
    [(None, ("motion", "object")), (["object"], ("object",)), (["object", "motion"], ("object", "motion"))],
)
def test_tasks_are_all_columns_or_those_chosen_in_that_order(write, tasks, kept):
    table = csv.read(write("path,motion,split,object\na.mp4,left,train,box\n"), tasks)
    assert table.tasks == kept
    assert tuple(table.rows[0].labels) == kept


@pytest.mark.parametrize(
    ("content", "tasks", "said"),
    [
        ("", None, "labels.csv is empty; its first line must name the columns"),
        ("path,motion\n", None, "labels.csv has no rows below its header"),
        ("file,motion\na.mp4,x\n", None, "labels.csv:1: there is no column 'path' (columns: file, motion)"),
        ("paths,motion\na.mp4,x\n", None, "no column 'path'; did you mean 'paths'? (columns: paths, motion)"),
        ("path;motion\na.mp4;x\n", None, "labels.csv:1: the columns are separated by semicolons"),
        ("path\tmotion\na.mp4\tx\n", None, "labels.csv:1: the columns are separated by tabs"),
        ("path,split\na.mp4,train\n", None, "there is no column of labels"),
        ("path,motion,motion\na.mp4,x,y\n", None, "column 'motion' is there twice"),
        ("path,,motion\na.mp4,x,y\n", None, "labels.csv:1: column 2 has no name"),
        ("path,motion,start\na.mp4,x,1.5\n", None, "column 'start' is not supported"),
        ("path,motion\na.mp4,x\nb.mp4\n", None, "labels.csv:3: 1 cell, but the header names 2 columns"),
        ("path,motion\na.mp4,x,y\n", None, "labels.csv:2: 3 cells, but the header names 2 columns"),
        ("path,motion\n,x\n", None, "labels.csv:2, column 'path': blank"),
        ("path,motion\na.mp4,x\n", ["notion"], "task 'notion'; did you mean 'motion'? (columns of"),
        ("path,motion,split\na.mp4,x,val\n", ["split"], "task 'split' (columns of labels: motion)"),
        ('path,motion\n"a.mp4"b,x\n', None, "labels.csv:2: not valid CSV"),
        (b"path,motion\n\xe9.mp4,x\n", None, "labels.csv is not UTF-8"),
        (b"\xff\xfep\x00a\x00t\x00h\x00", None, "labels.csv is not UTF-8"),
        ('path,motion\n"a.mp4,x\nb.mp4",y\n', None, "labels.csv:3: a line break in a cell"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_with_the_place(write, content, tasks, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        csv.read(write(content), tasks)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_with_labels_csv_is_read_as_csv(write, tmp_path):
    file = write("path,motion\na.mp4,left\n")
    assert recognise(file) is csv
    assert recognise(tmp_path) is csv
    assert csv.read(tmp_path, None) == csv.read(file, None)


def test_formats_are_found_by_their_files():
    assert available() == ("csv", "folder")
