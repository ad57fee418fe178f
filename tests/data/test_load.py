"""What is judged alike for all formats; what each format reads is tested beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unfreeze.data import View, load, load_manifest

SPLIT = "path,motion,split\na.mp4,left,train\nb.mp4,right,train\nc.mp4,left,val\nd.mp4,right,val\n"


@pytest.fixture
def csv(tmp_path):
    """``csv(text)`` writes ``labels.csv`` beside the empty files a.mp4 to l.mp4: none is decoded here."""

    def write(text: str) -> Path:
        for name in "abcdefghijkl":
            (tmp_path / f"{name}.mp4").touch()
        (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
        return tmp_path / "labels.csv"

    return write


def rows(header: str, *cells: str) -> str:
    return "\n".join(
        [header, *(f"{name}.mp4,{cell}" for name, cell in zip("abcdefghijkl", cells, strict=False))]
    )


def test_a_manifest_from_rows(csv, tmp_path):
    manifest = load_manifest(csv(SPLIT))
    assert manifest.tasks == {"motion": ("left", "right")}
    assert manifest.notes == ()
    assert [(s.path, s.split, s.labels, s.row) for s in manifest.samples][2] == (
        tmp_path / "c.mp4", "val", {"motion": 0}, "labels.csv:4",
    )  # fmt: skip


def test_the_source_is_what_the_user_called_it(csv):
    path = csv(SPLIT)
    assert load_manifest(str(path)).source == str(path)


def test_blank_labels_are_masked_and_wholly_blank_rows_left_aside(csv):
    text = "path,motion,object,split\na.mp4,left,,train\nb.mp4,right,box,train\nc.mp4,,,train\nd.mp4,,,val\n"
    manifest = load_manifest(csv(text + "e.mp4,left,ball,val\nf.mp4,left,ball,train\n"))
    assert [s.labels for s in manifest.samples] == [
        {"motion": 0, "object": None},
        {"motion": 1, "object": 1},
        {"motion": 0, "object": 0},
        {"motion": 0, "object": 0},
    ]
    assert manifest.notes[0] == "labels.csv:4: no label for any task, left aside (and 1 more like it)"


def test_the_demo_by_name(csv, monkeypatch):
    path = csv(SPLIT)
    seen = []
    monkeypatch.setattr(load, "ensure_demo", lambda progress: seen.append(progress) or path.parent)
    manifest = load_manifest("demo", progress=print)
    assert (manifest.source, len(manifest.samples), seen) == ("demo", 4, [print])


def test_the_automatic_split_is_by_class_and_said(csv):
    manifest = load_manifest(csv(rows("path,motion", *["left", "right"] * 5)), val_fraction=0.2)
    assert manifest.counts("motion", "train") == {"left": 4, "right": 4}
    assert manifest.counts("motion", "val") == {"left": 1, "right": 1}
    assert "8 clips to train and 2 to validate on, chosen by class with seed 0" in manifest.notes[0]


def test_without_a_val_split_a_share_of_train_is_taken_and_test_stays(csv):
    train = (f"{'left' if i % 2 else 'right'},train" for i in range(10))
    path = csv(rows("path,motion,split", *train, *["left,test"] * 2))
    manifest = load_manifest(path)
    assert [len(manifest.split(name)) for name in ("train", "val", "test")] == [8, 2, 2]
    assert "names no val split: 8 clips to train and 2 to validate on" in manifest.notes[0]
    assert load_manifest(path, classes=manifest.tasks).samples == manifest.samples


def test_the_automatic_split_is_the_same_wherever_the_data_lies(csv, tmp_path, monkeypatch):
    path = csv(rows("path,motion", *["left", "right"] * 5))
    monkeypatch.chdir(tmp_path)
    splits = [[s.split for s in load_manifest(p, seed=3).samples] for p in (path, Path("labels.csv"))]
    assert splits[0] == splits[1]
    assert splits[0] != [s.split for s in load_manifest(path, seed=4).samples]


def test_no_group_and_no_file_on_both_sides_of_an_automatic_split(csv):
    labels = [f"{'left' if i % 2 else 'right'},{('ann', 'bob', 'cy')[i // 4]}" for i in range(12)]
    path = csv(rows("path,motion,group", *labels) + "\na.mp4,right,ann\n")
    for seed in range(10):
        sides: dict[str, set[str]] = {}
        for sample in load_manifest(path, seed=seed).samples:
            sides.setdefault(sample.group, set()).add(sample.split)
        assert sorted(map(sorted, sides.values())) == [["train"], ["train"], ["val"]]


def test_a_file_listed_twice_is_noted_and_stays_on_one_side(csv):
    path = csv(rows("path,motion", *["left", "right"] * 3) + "\na.mp4,left\nb.mp4,right\n")
    manifest = load_manifest(path)
    assert manifest.notes[0].startswith("labels.csv:8: ")
    assert manifest.notes[0].endswith("is listed a second time (first at labels.csv:2) (and 1 more like it)")
    for name in "ab":
        assert len({s.split for s in manifest.samples if s.path.name == f"{name}.mp4"}) == 1


def test_a_class_with_a_single_clip_trains_and_is_named(csv):
    manifest = load_manifest(csv(rows("path,motion", "left", "left", "right", "right", "spin")))
    assert manifest.counts("motion", "train")["spin"] == 1
    assert "task 'motion': too few clips to validate 'spin', which is in train alone" in manifest.notes
    assert manifest.notes[0].startswith("labels.csv:6, column 'motion': the class 'spin' has this one clip")


def test_groups_torn_apart_by_given_splits_are_noted(csv):
    text = "path,motion,split,group\na.mp4,left,train,ann\nb.mp4,right,train,bob\nc.mp4,left,val,ann\n"
    assert load_manifest(csv(text)).notes[-1] == (
        "labels.csv:4: group 'ann' is in val, and in train at labels.csv:2: "
        "what is measured on val will flatter"
    )


class TestWithTheClassesOfAModel:
    MODEL = {"motion": ("right", "spin", "left")}  # noqa: RUF012

    def test_indices_are_the_models_and_train_and_val_need_not_fit(self, csv):
        manifest = load_manifest(
            csv("path,motion,split\na.mp4,left,test\nb.mp4,left,test\n"), classes=self.MODEL
        )
        assert manifest.tasks == self.MODEL
        assert [s.labels["motion"] for s in manifest.samples] == [2, 2]

    def test_too_little_to_split_is_no_matter(self, csv):
        manifest = load_manifest(csv("path,motion\na.mp4,left\nb.mp4,spin\n"), classes=self.MODEL)
        assert [s.split for s in manifest.samples] == ["train", "train"]

    def test_other_columns_are_not_read(self, csv):
        text = "path,motion,weather\na.mp4,left,sun\nb.mp4,spin,rain\nc.mp4,spin,\n"
        assert list(load_manifest(csv(text), classes=self.MODEL).samples[0].labels) == ["motion"]

    def test_an_unknown_class_is_refused(self, csv):
        with pytest.raises(
            ValueError,
            match=r"labels.csv:2, column 'motion': the model has no class 'lefft' .*; did you mean 'left'\?$",
        ):
            load_manifest(csv("path,motion,split\na.mp4,lefft,test\n"), classes=self.MODEL)

    def test_an_unknown_task_is_refused(self, csv):
        with pytest.raises(ValueError, match="the model has no task 'notion'; did you mean 'motion'"):
            load_manifest(csv(SPLIT), tasks=["notion"], classes=self.MODEL)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SPLIT + "x.mp4,left,train\n", "labels.csv:6, column 'path': there is no file"),
        (SPLIT + "m.mp4,left,train\nn.mp4,left,train\n", "did you mean 'l.mp4'? (and 1 more like it)"),
        (SPLIT + "clips/a.mp4,left,train\n", "(there is no folder {root}/clips); paths are relative"),
        (SPLIT + "a.mpg,left,train\n", "did you mean 'a.mp4'?"),
        (SPLIT + ".,left,train\n", "labels.csv:6, column 'path': {root} is a folder"),
        (SPLIT + "e.mp4,left,vall\n", "unknown split 'vall'; write train, val or test; did you mean 'val'?"),
        (SPLIT + "e.mp4,left,\n", "labels.csv:6, column 'split': blank; write train, val or test"),
        (SPLIT + "a.mp4,left,val\n", "labels.csv:6: {root}/a.mp4 is in val, but labels.csv:2 has it in"),
        (SPLIT + "./a.mp4,right,train\n", "labels.csv:6: {root}/a.mp4 has other labels at labels.csv:2"),
        (SPLIT + "e.mp4,spin,val\n", "labels.csv:6, task 'motion': the class 'spin' is in val but never"),
        (SPLIT + "e.mp4,lefft,val\nf.mp4,up,test\n", "or leave it out; did you mean 'left'?"),
        (SPLIT + "e.mp4,up,val\nf.mp4,down,test\n", "leave it out (and 1 more like it)"),
        ("path,m,split\na.mp4,x,train\nb.mp4,y,train\n", "no class has a second clip to validate on"),
        ("path,m,split\na.mp4,x,test\nb.mp4,y,test\n", "has no clips in the split 'train' (there are: test)"),
        ("path,m,split\na.mp4,x,val\nb.mp4,y,val\n", "has no clips in the split 'train' (there are: val)"),
        ("path,m\na.mp4,x\nb.mp4,x\n", "task 'm': all labels are 'x'"),
        ("path,m\na.mp4,|\nb.mp4,|\n", "task 'm': no clip has any class; choose others with --tasks"),
        ("path,m\na.mp4,1.5\nb.mp4,2\n", "column 'm': numbers such as 1.5 (labels.csv:2) are to be measured"),
        (SPLIT + "/nowhere/e.mp4,left,train\n", "(there is no folder /nowhere); if the data was moved, "),
        (SPLIT + "../e.mp4,left,train\n", "e.mp4; if the data was moved, write paths relative to the folder"),
        ("views,m\na.mp4|x.mp4,x\nb.mp4,y\n", "labels.csv:2, column 'views': there is no file {root}/x.mp4"),
        ("path,m,id\na.mp4,x,1\nx.mp4,x,1\n", "labels.csv:3, column 'path': there is no file {root}/x.mp4"),
        ("path,m,id\na.mp4,x,1\na.mp4,x,1\n", "labels.csv:3: {root}/a.mp4 is there twice as a view of one"),
        ("path,m,n\na.mp4,x,\nb.mp4,y,\n", "column 'n': every cell is blank"),
        ("path,m\na.mp4,x\nb.mp4,y\n", "no class has a second clip to validate on"),
        ("path,m,group\na.mp4,x,ann\nb.mp4,y,ann\n", "no class has a second group to validate on"),
        (
            "path,m,n,split\na.mp4,x,1,train\nb.mp4,y,2,train\nc.mp4,x,,val\n",
            "task 'n': no clip in val has a label",
        ),
    ],
)  # fmt: skip
def test_bad_data_is_one_line_that_names_the_culprit(csv, tmp_path, text, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load_manifest(csv(text))
    assert said.format(root=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


class TestStretchesOfOneFile:
    HEAD = "path,m,split,start,end\n"
    REST = "c.mp4,y,train,,\nd.mp4,x,val,,\ne.mp4,y,val,,\n"

    def notes(self, csv, *lines: str) -> tuple[str, ...]:
        return load_manifest(csv(self.HEAD + "\n".join(lines) + "\n" + self.REST)).notes

    def test_apart_in_one_split_they_are_clips_of_their_own(self, csv):
        assert self.notes(csv, "a.mp4,x,train,0,2", "a.mp4,y,train,2,4", "a.mp4,x,train,3,") == ()

    def test_the_same_with_other_labels_is_refused(self, csv):
        with pytest.raises(ValueError, match=r"labels\.csv:3: .*a\.mp4 has other labels at labels\.csv:2"):
            self.notes(csv, "a.mp4,x,train,1,2", "a.mp4,y,train,1,2")

    def test_the_same_twice_is_noted(self, csv):
        (note,) = self.notes(csv, "a.mp4,x,train,1,2", "a.mp4,x,train,1,2")
        assert note.endswith("is listed a second time (first at labels.csv:2)")

    def test_apart_in_two_splits_they_are_noted(self, csv, tmp_path):
        assert self.notes(csv, "a.mp4,x,train,0,2", "a.mp4,x,val,2,4") == (
            f"labels.csv:3: {tmp_path}/a.mp4 is in val, and another stretch of it in train at labels.csv:2: "
            "what is measured on val will flatter",
        )

    @pytest.mark.parametrize(
        "lines",
        [
            ("a.mp4,x,train,0,2", "a.mp4,x,val,1.9,4"),
            ("a.mp4,x,train,,", "a.mp4,x,val,8,9"),
            ("a.mp4,x,train,5,", "a.mp4,x,val,,6"),
            ("a.mp4,x,train,2,3", "a.mp4,x,val,0,9"),
        ],
    )
    def test_a_moment_in_two_splits_is_refused(self, csv, lines):
        with pytest.raises(
            ValueError, match=r"labels\.csv:3: .*a\.mp4 is in val, but labels\.csv:2 has it in tra"
        ):
            self.notes(csv, *lines)

    def test_a_long_stretch_meets_later_ones_of_another_split(self, csv):
        with pytest.raises(
            ValueError, match=r"labels\.csv:4: .*a\.mp4 is in val, but labels\.csv:2 has it in tra"
        ):
            self.notes(csv, "a.mp4,x,train,0,9", "a.mp4,x,train,1,2", "a.mp4,x,val,5,6")

    def test_an_automatic_split_keeps_them_together(self, csv):
        lines = [f"{name}.mp4,{label},{i},{i + 1}" for name in "abcdefgh" for i, label in enumerate("xyx")]
        for sample in (manifest := load_manifest(csv("path,m,start,end\n" + "\n".join(lines)))).samples:
            assert {s.split for s in manifest.samples if s.path == sample.path} == {sample.split}
        assert manifest.samples[1].views[0] == View(manifest.samples[0].path, 1.0, 2.0)


def test_several_views_become_one_sample(csv, tmp_path):
    text = "path,m,id,split\na.mp4,x,1,train\nb.mp4,x,1,train\nc.mp4,y,,train\nd.mp4,x,,val\ne.mp4,y,,val\n"
    sample = load_manifest(csv(text)).samples[0]
    assert sample.views == (View(tmp_path / "a.mp4"), View(tmp_path / "b.mp4"))
    assert (sample.row, sample.labels) == ("labels.csv:2", {"m": 0})


def test_a_window_for_all_that_have_none_of_their_own(csv):
    manifest = load_manifest(
        csv("path,m,start\na.mp4,x,3\nb.mp4,y,\nc.mp4,x,\nd.mp4,y,\n"), window=(1.0, 2.0)
    )
    assert [(v.start, v.end) for s in manifest.samples for v in s.views] == [(3, None)] + [(1, 2)] * 3


class TestSeveralClassesPerClip:
    TEXT = "path,tags,split\na.mp4,x|y,train\nb.mp4,|,train\nc.mp4,x,val\nd.mp4,,val\ne.mp4,y,val\n"

    def test_labels_are_ascending_indices(self, csv):
        manifest = load_manifest(csv(self.TEXT))
        assert manifest.multilabel == {"tags"}
        assert manifest.tasks == {"tags": ("x", "y")}
        assert [s.labels["tags"] for s in manifest.samples] == [(0, 1), (), (0,), (1,)]
        assert "a multi-label task" in manifest.notes[1]

    def test_the_kind_and_the_classes_of_a_model_rule(self, csv):
        text = "path,tags,split\na.mp4,y,val\nb.mp4,,val\n"
        model = {"tags": ("z", "y", "x")}
        manifest = load_manifest(csv(text), classes=model, multilabel=["tags"])
        assert [s.labels["tags"] for s in manifest.samples] == [(1,)]
        assert load_manifest(csv(text), classes=model).samples[0].labels == {"tags": 1}
        with pytest.raises(ValueError, match="but the model tells one for each clip"):
            load_manifest(csv(self.TEXT), classes=model)
        with pytest.raises(ValueError, match=r"labels\.csv:2, column 'tags': the model has no class 'v'"):
            load_manifest(csv("path,tags\na.mp4,x|v\n"), classes=model, multilabel=["tags"])


class TestFolds:
    def test_folds_take_turns(self, csv):
        path = csv(rows("path,motion", *["left", "right"] * 6))
        held = [{s.path.name for s in load_manifest(path, folds=3, fold=i).split("val")} for i in (1, 2, 3)]
        assert [len(names) for names in held] == [4, 4, 4]
        assert len(set().union(*held)) == 12
        assert (
            "fold 1 of 3: 8 clips to train and 4 to validate on"
            in load_manifest(path, folds=3, fold=1).notes[0]
        )

    def test_a_class_that_is_all_in_one_fold_is_noted_there(self, csv):
        path = csv(rows("path,motion", *["left", "right"] * 3, "spin"))
        notes = [load_manifest(path, folds=2, fold=i).notes[-1] for i in (1, 2)]
        assert sum("the class 'spin' is in val but never in train" in note for note in notes) == 1

    def test_flags_are_checked_first(self, tmp_path):
        with pytest.raises(ValueError, match="--folds 3 needs --fold"):
            load_manifest(tmp_path / "nowhere", folds=3)


def test_what_lies_outside_of_the_data_folder_is_noted(csv, tmp_path):
    (tmp_path / "deep").mkdir()
    csv(SPLIT)
    outside = (
        SPLIT.replace("c.mp4", "../c.mp4").replace("d.mp4", f"{tmp_path}/d.mp4").replace("\n", "\n../", 2)
    )
    (tmp_path / "deep" / "labels.csv").write_text(outside)
    assert load_manifest(tmp_path / "deep").notes == (
        f"labels.csv:2, column 'path': {tmp_path}/deep/../a.mp4 lies outside of the folder of the data, and "
        "is used from there; move it in if the two are ever to be copied together (and 3 more like it)",
    )


def test_a_path_with_backslashes_is_told_how_to_write_it(csv, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.mp4").touch()
    with pytest.raises(ValueError, match=r"write it with slashes: .*/sub/x\.mp4"):
        load_manifest(csv(SPLIT + "sub\\x.mp4,left,train\n"))


def test_a_slip_of_the_pen_is_noted(csv):
    text = rows("path,m,split", *["left,train", "right,train"] * 5, "left,val", "rihgt,train")
    assert (
        "labels.csv:13, column 'm': 'rihgt' has 1 clip and 'right' has 5; did you mean 'right'?"
        in load_manifest(csv(text)).notes
    )


def test_a_missing_source_is_named_with_its_neighbour(csv, tmp_path):
    csv(SPLIT)
    with pytest.raises(FileNotFoundError, match=r"there is no .*label\.csv; did you mean 'labels\.csv'\?"):
        load_manifest(tmp_path / "label.csv")
    with pytest.raises(FileNotFoundError, match=r"clips/labels\.csv \(there is no .*clips\)"):
        load_manifest(tmp_path / "clips" / "labels.csv")


def test_a_source_of_no_known_format_is_told_the_known_ones(csv, tmp_path):
    (tmp_path / "a.doc").touch()
    with pytest.raises(
        ValueError, match=r"a\.doc is not a data set that can be read; there are: a \.csv file .*; a folder"
    ):
        load_manifest(tmp_path / "a.doc")


@pytest.mark.parametrize(
    ("name", "said"), [("a.mp4", "is one video; name a folder"), ("a.XLSX", "spreadsheet.*save it as CSV")]
)
def test_what_is_likely_meant_is_told_alone(name, said, csv, tmp_path):
    csv(SPLIT)
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=said):
        load_manifest(tmp_path / name)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_the_fraction_is_a_share(csv, fraction):
    with pytest.raises(ValueError, match="val_fraction must be above 0 and below 1"):
        load_manifest(csv(SPLIT), val_fraction=fraction)
