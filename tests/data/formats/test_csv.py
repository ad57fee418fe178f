from __future__ import annotations

from pathlib import Path

import pytest

from unfreeze.data.formats import Row, csv, recognise
from unfreeze.data.manifest import View


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
        Row((View(tmp_path / "a.mp4"),), {"motion": "left"}, "labels.csv:2", "train", "ann"),
        Row((View(tmp_path / "sub" / "b.mp4"),), {"motion": None}, "labels.csv:4", "val", None),
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
        ("clip,motion\na.mp4,x\n", None, "labels.csv:1: there is no column 'path' (columns: clip, motion)"),
        ("paths,motion\na.mp4,x\n", None, "no column 'path' (columns: paths, motion)"),
        ("paths;motion\na.mp4;x\n", None, "column of file names 'path'; did you mean 'paths'?"),
        ("path|motion\na.mp4|x\n", None, "labels.csv:1: the columns are separated by bars; save it with"),
        ("a.mp4,x\nb.mp4,y\n", None, "labels.csv:1: 'a.mp4' is a video and no name of a column; put a first"),
        ("a.mp4 0\nb.mp4 1\n", None, "is a video and no name of a column; put a first line like "
         "path,label, or read it as a list with --data_format list"),
        ("path,split\na.mp4,train\n", None, "there is no column of labels"),
        ("path,motion,motion\na.mp4,x,y\n", None, "column 'motion' is there twice"),
        ("path,,motion\na.mp4,x,y\n", None, "labels.csv:1: column 2 has no name"),
        ("path,motion,start\na.mp4,x,0:12\n", None, "labels.csv:2, column 'start': '0:12' is no number of"),
        ("path,motion,end\na.mp4,x,-1\n", None, "labels.csv:2, column 'end': '-1' is no number of seconds"),
        ("path,motion,end\na.mp4,x,nan\n", None, "labels.csv:2, column 'end': 'nan' is no number of seconds"),
        ("path,motion,start,end\na.mp4,x,5,3\n", None, "labels.csv:2, columns 'start' and 'end': nothing "
         "lies between 5 and 3 seconds; 'end' must be above 'start'"),
        ("path,motion,end\na.mp4,x,0\n", None, "nothing lies between 0 and 0 seconds"),
        ("views,motion\n|,x\n", None, "labels.csv:2, column 'views': blank"),
        ("path,motion,id\na.mp4,x,1\nb.mp4,y,1\n", None, "labels.csv:3, column 'motion': 'y', but "
         "labels.csv:2 has 'x' for the same event (id '1'); rows of one id are views of one"),
        ("path,m,id,split\na.mp4,x,1,train\nb.mp4,x,1,\n", None, "labels.csv:3, column 'split': 'blank', "),
        ("path,m,id,group\na.mp4,x,1,ann\nb.mp4,x,1,bob\n", None, "labels.csv:3, column 'group': 'bob', but"),
        ("path,motion\na.mp4,x\nb.mp4\n", None, "labels.csv:3: 1 cell, but the header names 2 columns"),
        ("path,motion\na.mp4,x,y\n", None, "labels.csv:2: 3 cells, but the header names 2 columns"),
        ("path,motion\n,x\n", None, "labels.csv:2, column 'path': blank"),
        ("path,motion\na.mp4,x\n", ["notion"], "task 'notion'; did you mean 'motion'? (columns of"),
        ("path,motion,split\na.mp4,x,val\n", ["split"], "task 'split' (columns of labels: motion)"),
        ('path,motion\n"a.mp4"b,x\n', None, "labels.csv:2: not valid CSV"),
        (b"path,motion\n\xe9.mp4,x\n", None, "labels.csv:2, column 'path': not UTF-8 (byte 0xe9); save"),
        (b"path;motion;m\na.mp4;x;y\nb.mp4;h\xfcpf;y\n", None, "labels.csv:3, column 'motion': not UTF-8"),
        (b"path;h\xfcpf\na.mp4;x\n", None, "labels.csv:1: not UTF-8 (byte 0xfc); save it as"),
        (b"\xff\xfep\x00a", None, "labels.csv is not valid UTF-16"),
        ("path,motion\na.mp4,x\n".encode("utf-16-le"), None, "labels.csv has zero bytes, as UTF-16 without"),
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


@pytest.mark.parametrize("column", ["path", "file_name", "file"])
def test_the_column_of_files_has_three_names(write, tmp_path, column):
    table = csv.read(write(f"motion,{column}\nleft,a.mp4\n"), None)
    assert (table.tasks, table.path_column) == (("motion",), column)
    assert table.rows[0].path == tmp_path / "a.mp4"


def test_of_two_columns_of_files_one_is_read(write):
    table = csv.read(write("file,path,motion\nx,a.mp4,left\n"), None)
    assert (table.tasks, table.rows[0].path.name) == (("motion",), "a.mp4")
    assert table.notes[0].endswith("labels.csv:1: column 'file' is not read, as 'path' names the files")


def test_a_row_may_be_a_stretch_of_its_file(write, tmp_path):
    rows = csv.read(write("path,m,start,end\na.mp4,x,1.5,4\na.mp4,y,4,\na.mp4,z,,2\n"), None).rows
    assert [row.views[0] for row in rows] == [
        View(tmp_path / "a.mp4", 1.5, 4.0),
        View(tmp_path / "a.mp4", 4.0),
        View(tmp_path / "a.mp4", None, 2.0),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "views,m\na.mp4 | b.mp4,x\nc.mp4,y\n",
        "m,views,path\nx,b.mp4,a.mp4\ny,,c.mp4\n",
        "path,views,m\na.mp4,a.mp4|b.mp4,x\nc.mp4,,y\n",
        "path,m,id\na.mp4,x,7\nc.mp4,y,\nb.mp4,x,7\n",
    ],
)
def test_several_views_of_one_event_in_one_cell_or_in_rows_of_one_id(write, content):
    rows = csv.read(write(content), None).rows
    assert [([view.path.name for view in row.views], row.labels["m"]) for row in rows] == [
        (["a.mp4", "b.mp4"], "x"), (["c.mp4"], "y"),
    ]  # fmt: skip


def test_every_row_of_an_event_says_where_its_view_is_named(write):
    (row,) = csv.read(write("path,m,id,start\na.mp4,x,7,1\nb.mp4,x,7,2\n"), None).rows
    assert row.where == "labels.csv:2"
    assert [(v.start, where) for v, where in row.located_views()] == [
        (1, "labels.csv:2"),
        (2, "labels.csv:3"),
    ]


@pytest.mark.parametrize(
    ("content", "noted"),
    [
        ('path;motion\n"a;b.mp4";left, up\n', "labels.csv: read with semicolons between the columns"),
        ("path\tmotion\na;b.mp4\tleft, up\n", "labels.csv: read with tabs between the columns"),
        ('path,motion\na;b.mp4,"left, up"\n'.encode("utf-16"), "labels.csv: read as UTF-16, as its first"),
    ],
)
def test_other_separators_and_utf_16_are_read_with_a_note(write, content, noted):
    table = csv.read(write(content), None)
    assert (table.rows[0].path.name, table.rows[0].labels) == ("a;b.mp4", {"motion": "left, up"})
    assert noted in table.notes[0]


def test_one_file_per_split(tmp_path):
    (tmp_path / "train.csv").write_text("path,motion\na.mp4,left\n")
    (tmp_path / "valid.csv").write_text("path,motion\nb.mp4,left\n")
    assert recognise(tmp_path) is csv
    assert [(row.where, row.split) for row in csv.read(tmp_path, None).rows] == [
        ("train.csv:2", "train"), ("valid.csv:2", "val"),
    ]  # fmt: skip


def test_a_folder_without_such_a_file_is_told_so(tmp_path):
    (tmp_path / "one.csv").touch()
    (tmp_path / "two.csv").touch()
    with pytest.raises(
        ValueError, match=r"no labels\.csv and no train\.csv \(there are: one\.csv, two\.csv\); name"
    ):
        csv.read(tmp_path, None)
