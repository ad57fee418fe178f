"""What files with types add to tables: numbers, lists and nulls in cells."""

from __future__ import annotations

import builtins
import json
import math

import pytest

from unfreeze.data.formats import jsonl, parquet

ROWS = [
    {"path": "a.mp4", "label": 1, "tags": ["x", "y"], "start": 1.5, "sure": True},
    {"path": "b.mp4", "label": None, "tags": [], "start": None, "sure": False},
    {"path": "c.mp4", "label": 3.0, "tags": None, "start": 2, "sure": None},
]


def test_values_of_json_become_text(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("\ufeff" + "\n\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    table = jsonl.read(file, None)
    assert table.tasks == ("label", "tags", "sure")
    assert [tuple(row.labels.values()) for row in table.rows] == [
        ("1", ("x", "y"), "true"), (None, (), "false"), ("3", None, None),
    ]  # fmt: skip
    assert [(row.where, row.views[0].start) for row in table.rows] == [
        ("a.jsonl:1", 1.5), ("a.jsonl:3", None), ("a.jsonl:5", 2.0),
    ]  # fmt: skip


def test_values_of_parquet_become_text_and_pandas_gaps_stay_blank(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    file = tmp_path / "a.parquet"
    columns = {"path": ["a.mp4", "b.mp4"], "label": [2.0, math.nan], "tags": [["x"], None]}
    pq.write_table(pyarrow.table(columns), file)
    table = parquet.read(file, None)
    assert [tuple(row.labels.values()) for row in table.rows] == [("2", ("x",)), (None, None)]
    assert [row.where for row in table.rows] == ["a.parquet, row 1", "a.parquet, row 2"]


def test_a_line_of_json_ends_where_json_says(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"path": "a.mp4", "m": "x\u2028y"}\r\n', encoding="utf-8")
    assert jsonl.read(file, None).rows[0].labels == {"m": "x\u2028y"}


def test_a_key_that_is_not_there_is_blank(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"path": "a.mp4", "m": "x"}\n{"path": "b.mp4", "n": "y"}\n')
    assert [row.labels for row in jsonl.read(file, None).rows] == [
        {"m": "x", "n": None}, {"m": None, "n": "y"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "a.jsonl is empty; write one object per clip"),
        ("{}\n", "a.jsonl is empty"),
        ('{"path": "a.mp4"\n', "a.jsonl:1: not valid JSON (Expecting ',' delimiter at column 17); write one"),
        ('{"path": "a.mp4", "m": "x"}\n["a.mp4"]', "a.jsonl:2: '[\"a.mp4\"]' is no object"),
        ('{"path": "a.mp4", "m": {"x": 1}}', "a.jsonl:1, column 'm': dict cannot be read; write a text, a"),
        ('{"file": "a.mp4"}', "a.jsonl: there is no column of labels"),
        ('{"clip": "a.mp4", "m": "x"}', "a.jsonl: there is no column 'path' (columns: clip, m)"),
        ('{"path": "a.mp4", "m": "x"}\n{"m": "x"}', "a.jsonl:2, column 'path': blank"),
        ('{"path": "a.mp4", "m": "x", "start": "x"}', "a.jsonl:1, column 'start': 'x' is no number"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_with_the_place(tmp_path, content, said):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        jsonl.read(tmp_path / "a.jsonl", None)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_encodings_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"path": "\xe9.mp4"}')
    with pytest.raises(ValueError, match=r"a\.jsonl is not UTF-8 .*; save it in UTF-8"):
        jsonl.read(tmp_path / "a.jsonl", None)


def test_a_file_that_is_no_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_text("path,label\n")
    with pytest.raises(ValueError, match=r"a\.parquet is no Parquet file that can be read \(.*\); write it"):
        parquet.read(tmp_path / "a.parquet", None)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"a\.parquet needs pyarrow: pip install 'unfreeze\[parquet\]'"):
        parquet.read(tmp_path / "a.parquet", None)
