"""Pure: reports are made up, so that each case is a row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from unfreeze.data import Manifest
from unfreeze.data.survey import FileReport, Survey, findings
from unfreeze.preprocessing import Preprocessing

CLIP = Preprocessing(8, 56, (48, 48), (0.5,) * 3, (0.5,) * 3, fps=5.0)  # 1.6 seconds


def report(name, **fields) -> FileReport:
    basis = {"frames": 60, "seconds": 2.0, "fps": 30.0, "width": 64, "height": 64, "depth": 8, "size": 1000}
    return FileReport(Path(name), **(basis | {"digest": f"digest of {name}"} | fields))


def judge(samples, reports, preprocessing=CLIP):
    manifest = Manifest({"motion": ("hop", "spin", "swell")}, tuple(samples), "data")
    return findings(Survey({r.path: r for r in reports}, "full"), manifest, preprocessing)


def kinds(found) -> list[tuple[str, str]]:
    return [(item.kind, item.level) for item in found.items]


A, B = Path("a.mp4"), Path("b.mp4")


def test_nothing_wrong_with_good_files(sample):
    found = judge([sample(A), sample(B, split="val")], [report("a.mp4"), report("b.mp4")])
    assert found.items == ()
    assert found.worst() is None


@pytest.mark.parametrize(
    ("fields", "kind", "level", "said"),
    [
        ({"trouble": "truncated", "error": "a.mp4: breaks off"}, "truncated", "warn", "a.mp4: breaks off"),
        ({"trouble": "unreadable", "error": "a.mp4: no"}, "unreadable", "warn", "a.mp4: no"),
        ({"trouble": "empty", "error": "a.mp4: is empty"}, "empty", "warn", "is empty"),
        ({"trouble": "sound_only", "error": "a.mp4: only sound"}, "sound_only", "warn", "only sound"),
        ({"trouble": "crashed", "error": "a.mp4: crashes"}, "crashed", "warn", "crashes"),
        ({"variable_rate": True}, "variable_rate", "note", "30.00 frames per second on average"),
        ({"depth": 10}, "depth", "note", "1 file has 8 bits per colour, b.mp4 for one"),
        ({"seconds": 0.8, "frames": 24}, "short", "warn", "0.80 of the 1.60 seconds of a clip"),
        ({"seconds": 36_000.0}, "long", "warn", "a.mp4: 10.0 hours; name the stretches"),
        ({"note": "a.mp4: decoded in part"}, "partly_decoded", "note", "decoded in part"),
        ({"width": 40}, "small", "note", "40x64 pixels, below the 48"),
        ({"digest": "digest of b.mp4"}, "leak", "stop", "b.mp4 is in val and has the content of a.mp4"),
    ],
)
def test_one_thing_wrong(sample, fields, kind, level, said):
    found = judge([sample(A), sample(B, split="val")], [report("a.mp4", **fields), report("b.mp4")])
    assert kinds(found) == [(kind, level)]
    assert said in found.items[0].lines[0]
    assert "\n" not in "".join(found.items[0].lines)
    assert found.worst() == (None if level == "note" else level)
    json.dumps(found.to_dict(), allow_nan=False)


def test_files_that_were_not_looked_at_are_not_judged(sample):
    assert judge([sample(A), sample(B)], [report("b.mp4")]).items == ()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, ["duplicate"]),
        ({}, {"label": 1}, ["conflict", "duplicate"]),
        ({}, {"label": None}, ["duplicate"]),
        ({}, {"split": "val"}, ["leak"]),
        ({}, {"split": "test", "label": 1}, ["leak", "conflict"]),
        ({"end": 1.0}, {"start": 1.0, "split": "val"}, []),  # other stretches of it
        ({"end": 1.1}, {"start": 1.0, "split": "val"}, ["leak"]),
    ],
)
def test_the_same_content_under_two_names(sample, first, second, expected):
    short = replace(CLIP, fps=None, frames=1)
    samples = [sample(A, **first), sample(B, **second)]
    found = judge(samples, [report("a.mp4", digest="same"), report("b.mp4", digest="same")], short)
    assert [item.kind for item in found.items] == expected


def test_thousands_of_stretches_of_one_file(sample):
    spread = replace(CLIP, fps=None)
    stretches = [sample(A, start=float(i), end=i + 1.0) for i in range(3000)]
    assert judge(stretches, [report("a.mp4", seconds=3000.0)], spread).items == ()
    again = sample(A, start=77.5, end=77.9, label=1)
    found = judge([*stretches, again], [report("a.mp4", seconds=3000.0)], spread)
    assert kinds(found) == [("conflict", "warn")]


def test_empty_and_unreadable_files_are_no_duplicates_of_each_other(sample):
    bad = {"trouble": "empty", "error": "x", "digest": "same"}
    found = judge([sample(A), sample(B, split="val")], [report("a.mp4", **bad), report("b.mp4", **bad)])
    assert kinds(found) == [("empty", "warn")]


def test_labels_of_a_conflict_are_said_by_name(sample):
    same = [report("a.mp4", digest="same"), report("b.mp4", digest="same")]
    found = judge([sample(A, label=0), sample(B, label=2)], same)
    assert "b.mp4 is 'swell' and a.mp4, of the same content, 'hop' (motion)" in found.items[0].lines[0]


def test_one_group_in_two_splits(sample):
    samples = [sample(A, group="anna"), sample(B, split="val", group="anna")]
    found = judge(samples, [report("a.mp4"), report("b.mp4")])
    assert kinds(found) == [("group_leak", "stop")]
    assert "group 'anna' is in train (a.mp4) and val (b.mp4)" in found.items[0].lines[0]


@pytest.mark.parametrize(
    ("clip", "window", "short"),
    [
        ({"fps": 5.0}, {}, False),
        ({"fps": 5.0}, {"start": 1.0}, True),
        ({"fps": 5.0}, {"start": 0.3, "end": 9.0}, False),
        ({"fps": 4.0}, {}, False),
        ({"fps": 3.0}, {}, True),
        ({"fps": None}, {}, False),
        ({"fps": None}, {"end": 0.2}, True),  # 6 of 8 frames
        ({"fps": None, "stride": 8}, {}, False),  # 57 of 60
        ({"fps": None, "stride": 9}, {}, True),
    ],
)
def test_short_is_what_a_clip_does_not_fit_into(sample, clip, window, short):
    found = judge([sample(A, **window)], [report("a.mp4")], replace(CLIP, **clip))
    assert kinds(found) == ([("short", "warn")] if short else [])


def test_a_window_of_a_long_file_is_not_long(sample):
    assert judge([sample(A, start=5000.0, end=5004.0)], [report("a.mp4", seconds=36_000.0)]).items == ()


def test_a_window_outside_of_its_file(sample):
    found = judge([sample(A, start=5.0)], [report("a.mp4")])
    assert kinds(found) == [("outside", "warn")]
    assert "a.mp4 ends after 2.00 seconds, before its start of 5" in found.items[0].lines[0]


def test_with_a_stride_a_variable_rate_matters(sample):
    by_stride = replace(CLIP, fps=None, stride=2)
    found = judge([sample(A)], [report("a.mp4", variable_rate=True)], by_stride)
    assert kinds(found) == [("variable_rate", "warn")]


def test_classes_by_split_and_how_uneven_they_are(sample):
    samples = [sample(A)] * 6 + [sample(A, label=1)] * 2 + [sample(A, label=2, split="val")]
    found = judge(samples, [report("a.mp4")])
    assert found.classes == {
        "motion": {
            "hop": {"train": 6, "val": 0, "test": 0},
            "spin": {"train": 2, "val": 0, "test": 0},
            "swell": {"train": 0, "val": 1, "test": 0},
        }
    }
    assert found.imbalance == {"motion": 3.0}
    assert found.pictures == {(64, 64): 1}


def test_the_gravest_comes_first(sample):
    reports = [report("a.mp4", variable_rate=True, digest="same"), report("b.mp4", digest="same", width=9)]
    found = judge([sample(A), sample(B, split="val")], reports)
    assert [item.level for item in found.items] == ["stop", "note", "note"]
