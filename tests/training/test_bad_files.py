from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from unfreeze.data import Manifest, Sample, View, load_manifest
from unfreeze.data.survey import FileReport, Survey
from unfreeze.training.bad_files import checked, most_bad, without_bad, without_named
from unfreeze.training.config import TrainConfig


@pytest.mark.parametrize(
    ("text", "total", "expected"),
    [
        ("0", 500, 0),
        ("3", 500, 3),
        ("0%", 500, 0),
        ("1%", 500, 5),
        ("1%", 120, 1),  # rounded down
        ("1%", 99, 0),
        ("0.5%", 1000, 5),
        ("7%", 100, 7),  # as the decimal that was written
        (" 2 % ", 100, 2),
        ("100%", 12, 12),
    ],
)
def test_how_many_may_be_bad(text, total, expected):
    assert most_bad(text, total) == expected


@pytest.mark.parametrize("text", ["", "some", "0.01", "-1", "101%", "1%%", "%", "1e3"])
def test_what_is_no_number_of_files(text):
    with pytest.raises(ValueError, match=r"^--max_bad .*: write a whole number of files, or a share"):
        most_bad(text, 100)


def manifest_of(train: int = 10, val: int = 4, views: int = 1) -> Manifest:
    """Files train0.mp4 … and val0.mp4 …, with the classes hop and spin in turn."""
    samples = [
        Sample(
            tuple(View(Path(f"{split}{i}{'' if v == 0 else f'_view{v}'}.mp4")) for v in range(views)),
            split,
            {"motion": i % 2},
            row=f"labels.csv:{i + 2}",
        )
        for split, count in (("train", train), ("val", val))
        for i in range(count)
    ]
    return Manifest({"motion": ("hop", "spin")}, tuple(samples), "data")


def survey_of(manifest: Manifest, *bad: str) -> Survey:
    paths = [view.path for sample in manifest.samples for view in sample.views]
    return Survey({path: report(path, bad=path.name in bad) for path in paths}, "full")


def report(path: Path, bad: bool) -> FileReport:
    if bad:
        return FileReport(path, "unreadable", f"{path}: cannot be decoded; leave it out")
    return FileReport(path, seconds=2.0, frames=20, fps=10.0)


def test_without_bad_files_nothing_changes():
    manifest = manifest_of()
    assert without_bad(manifest, survey_of(manifest), max_bad="0") == (manifest, [])


def test_bad_training_files_are_named_counted_and_left_out():
    manifest = manifest_of()
    left, notes = without_bad(manifest, survey_of(manifest, "train3.mp4"), max_bad="10%")
    assert [sample.path.name for sample in left.split("train")] == [
        f"train{i}.mp4" for i in range(10) if i != 3
    ]
    assert left.split("val") == manifest.split("val")
    assert notes == [
        "bad training file, left out: labels.csv:5: train3.mp4: cannot be decoded; leave it out",
        "1 of 10 training files is left out (--max_bad 10%: 1)",
    ]


def test_more_than_may_be_stop_the_run():
    manifest = manifest_of()
    with pytest.raises(
        ValueError, match="2 of 10 training files are bad, and --max_bad 10% allows 1"
    ) as caught:
        without_bad(manifest, survey_of(manifest, "train3.mp4", "train5.mp4"), max_bad="10%")
    assert "train3.mp4: cannot be decoded" in str(caught.value)
    assert "(and 1 more like it); put them right, or raise --max_bad" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_counts_once_however_many_clips_are_in_it():
    manifest = manifest_of()
    stretches = tuple(
        replace(manifest.samples[0], views=(View(Path("train0.mp4"), start, start + 1.0),))
        for start in (0.0, 1.0)
    )
    manifest = replace(manifest, samples=(*stretches, *manifest.samples[1:]))
    left, notes = without_bad(manifest, survey_of(manifest, "train0.mp4"), max_bad="1")
    assert len(left.split("train")) == 9
    assert notes[-1].startswith("1 of 10 training files")


def test_many_bad_files_are_not_all_named():
    manifest = manifest_of(train=40)
    bad = [f"train{i}.mp4" for i in range(12)]
    _, notes = without_bad(manifest, survey_of(manifest, *bad), max_bad="50%")
    assert len(notes) == 12
    assert notes[10] == "and 2 more bad training files, left out"


def test_a_bad_file_in_val_is_an_error_whatever_max_bad_says():
    manifest = manifest_of()
    with pytest.raises(
        ValueError, match=r"^1 bad file in val, .*val2\.mp4: cannot.*; .*--allow_bad val2\.mp4$"
    ):
        without_bad(manifest, survey_of(manifest, "val2.mp4"), max_bad="100%")


@pytest.mark.parametrize("name", ["val2.mp4", "./val2.mp4", str(Path("val2.mp4").absolute())])
def test_unless_it_is_allowed_by_name_or_path(name):
    manifest = manifest_of()
    left, notes = without_bad(manifest, survey_of(manifest, "val2.mp4"), max_bad="0", allow_bad=[name])
    assert len(left.split("val")) == 3
    assert notes == [
        "bad file in val, left out as --allow_bad says: labels.csv:4: val2.mp4: cannot be decoded; "
        "leave it out"
    ]
    with pytest.raises(ValueError, match=r"1 bad file in val.*val1\.mp4"):
        without_bad(manifest, survey_of(manifest, "val1.mp4", "val2.mp4"), max_bad="0", allow_bad=[name])


def test_a_name_to_allow_that_is_no_file_is_a_mistake():
    manifest = manifest_of()
    with pytest.raises(ValueError, match=r"--allow_bad val2\.mp: no file .*did you mean 'val2\.mp4'"):
        without_bad(manifest, survey_of(manifest), max_bad="0", allow_bad=["val2.mp"])


def test_several_views_lose_only_the_bad_one():
    manifest = manifest_of(views=3)
    left, notes = without_bad(manifest, survey_of(manifest, "train3_view1.mp4"), max_bad="1")
    assert len(left.split("train")) == 10
    assert [v.path.name for v in left.split("train")[3].views] == ["train3.mp4", "train3_view2.mp4"]
    assert notes[-1] == "labels.csv:5: goes on with 2 of its 3 views"
    with pytest.raises(ValueError, match=r"1 bad file in val.*val0_view2\.mp4"):
        without_bad(manifest, survey_of(manifest, "val0_view2.mp4"), max_bad="9")


def test_files_that_nobody_looked_at_are_taken_to_be_good():
    manifest = manifest_of()
    assert without_bad(manifest, Survey({}, "quick"), max_bad="0") == (manifest, [])


def test_a_stretch_after_the_end_of_its_file_is_bad():
    manifest = manifest_of()
    late = replace(manifest.samples[0], views=(View(Path("train0.mp4"), 7.0, 9.0),))
    manifest = replace(manifest, samples=(late, *manifest.samples[1:]))
    _, notes = without_bad(manifest, survey_of(manifest), max_bad="1")
    assert "labels.csv:2: train0.mp4 ends after 2.00 seconds, before its start of 7" in notes[0]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([f"train{i}.mp4" for i in range(0, 10, 2)], "every training file of the class 'hop' is bad"),
        ([f"train{i}.mp4" for i in range(10)], "without its bad files train is empty"),
        ([f"val{i}.mp4" for i in range(4)], "without its bad files val is empty"),
    ],
)
def test_what_cannot_be_trained_on_any_more_is_said_in_a_line(bad, said):
    manifest = manifest_of()
    with pytest.raises(ValueError, match=said) as caught:
        without_bad(manifest, survey_of(manifest, *bad), max_bad="100%", allow_bad=bad)
    assert "\n" not in str(caught.value)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNFREEZE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def damaged(clips, tmp_path):
    """``damaged(n, …)``: the CSV of nine clips, in which these are no videos."""

    def make(*numbers: int) -> str:
        for path in clips.parent.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        for number in numbers:
            (tmp_path / f"{number}.mp4").write_text("not a video")
        return str(tmp_path / "labels.csv")

    return make


def test_before_the_first_epoch(damaged, console, cache):
    config = TrainConfig(data=damaged(2), max_bad="1", workers=0)
    manifest = checked(load_manifest(config.data), config, console)
    assert len(manifest.split("train")) == 5
    assert any("2.mp4: cannot be decoded as video" in note for note in manifest.notes)
    assert "Checked 9 files (9 decoded): 1 is bad" in manifest.notes
    again = checked(load_manifest(config.data), config, console)
    assert "Checked 9 files (0 decoded, 9 known from before): 1 is bad" in again.notes


def test_the_run_stops_before_the_first_epoch(damaged, console, cache):
    config = TrainConfig(data=damaged(2), workers=0)  # 1% of six files is none
    with pytest.raises(ValueError, match=r"1 of 6 training files is bad.*2\.mp4"):
        checked(load_manifest(config.data), config, console)


def test_without_a_check_nothing_is_opened(damaged, console, cache):
    config = TrainConfig(data=damaged(2, 7), check="none", workers=0)
    manifest = load_manifest(config.data)
    assert checked(manifest, config, console) is manifest
    assert console.text == ""


def test_content_in_two_splits_is_noted(clips, tmp_path, console, cache):
    """Two clips of train stand in val under other names."""
    shutil.copytree(clips.parent, tmp_path / "clips")
    for copied, name in (("0.mp4", "6.mp4"), ("3.mp4", "7.mp4")):
        shutil.copy(tmp_path / "clips" / copied, tmp_path / "clips" / name)
    config = TrainConfig(data=str(tmp_path / "clips" / clips.name), workers=0)
    manifest = checked(load_manifest(config.data), config, console)
    assert len(manifest.samples) == 9
    (leak,) = [note for note in manifest.notes if "same content in two splits" in note]
    assert "6.mp4" in leak
    assert "more like it" in leak


def test_of_what_is_measured_only_bad_files_that_are_named_are_left_out(clips, tmp_path):
    good = min(clips.parent.glob("*.mp4"))
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"no video")
    views = View(good), View(junk)
    samples = (
        Sample(views, "val", {}, row="a.csv:2"),
        Sample((View(junk),), "val", {}),
        Sample((View(good),), "val", {}),
    )
    assert without_named(samples, ["other.mp4"], decoder="pyav", workers=0) == (samples, [])
    left, notes = without_named(samples, ["junk.mp4", good.name], decoder="pyav", workers=0)
    assert left == (replace(samples[0], views=views[:1]), samples[2])
    assert len(notes) == 2
    assert notes[0].startswith("bad file, left out as --allow_bad says: a.csv:2: ")
    assert notes[1] == "a.csv:2: goes on with 1 of its 2 views"
