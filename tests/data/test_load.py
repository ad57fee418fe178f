"""What is judged alike for all formats; what each format reads is tested beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unfreeze.data import load, load_manifest

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
    assert manifest.notes == ("labels.csv:4: no label for any task, left aside (and 1 more like it)",)


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


def test_groups_torn_apart_by_given_splits_are_noted(csv):
    text = "path,motion,split,group\na.mp4,left,train,ann\nb.mp4,right,train,bob\nc.mp4,left,val,ann\n"
    assert load_manifest(csv(text)).notes == (
        "labels.csv:4: group 'ann' is in val, and in train at labels.csv:2: "
        "what is measured on val will flatter",
    )


class TestWithTheClassesOfAModel:
    MODEL = {"motion": ("right", "spin", "left")}  # noqa: RUF012

    def test_indices_are_the_models_and_train_and_val_need_not_fit(self, csv):
        manifest = load_manifest(
            csv("path,motion,split\na.mp4,left,test\nb.mp4,left,test\n"), classes=self.MODEL
        )
        assert manifest.tasks == self.MODEL
        assert [s.labels["motion"] for s in manifest.samples] == [2, 2]

    def test_other_columns_are_not_read(self, csv):
        text = "path,motion,weather\na.mp4,left,sun\nb.mp4,spin,rain\nc.mp4,spin,\n"
        assert list(load_manifest(csv(text), classes=self.MODEL).samples[0].labels) == ["motion"]

    def test_an_unknown_class_is_refused(self, csv):
        with pytest.raises(
            ValueError,
            match=r"labels.csv:2, column 'motion': the model has no class 'lefft'; did you mean 'left'\?",
        ):
            load_manifest(csv("path,motion,split\na.mp4,lefft,test\n"), classes=self.MODEL)

    def test_an_unknown_task_is_refused(self, csv):
        with pytest.raises(ValueError, match="the model has no task 'notion'; did you mean 'motion'"):
            load_manifest(csv(SPLIT), tasks=["notion"], classes=self.MODEL)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SPLIT + "x.mp4,left,train\n", "labels.csv:6, column 'path': there is no file"),
        (SPLIT + "m.mp4,left,train\nn.mp4,left,train\n", "folder of the data file (and 1 more like it)"),
        (SPLIT + "clips/a.mp4,left,train\n", "(there is no {root}/clips)"),
        (SPLIT + "a.mpg,left,train\n", "did you mean 'a.mp4'?"),
        (SPLIT + ".,left,train\n", "labels.csv:6, column 'path': {root} is a folder"),
        (SPLIT + "e.mp4,left,vall\n", "labels.csv:6, column 'split': unknown split 'vall'; did you mean"),
        (SPLIT + "e.mp4,left,\n", "labels.csv:6, column 'split': blank; write train, val or test"),
        (SPLIT + "a.mp4,left,val\n", "labels.csv:6: {root}/a.mp4 is in val, but labels.csv:2 has it in"),
        (SPLIT + "./a.mp4,right,train\n", "labels.csv:6: {root}/a.mp4 has other labels at labels.csv:2"),
        (SPLIT + "e.mp4,spin,val\n", "labels.csv:6, task 'motion': the class 'spin' is in val but never"),
        (SPLIT + "e.mp4,lefft,val\nf.mp4,up,test\n", "never in train; did you mean 'left'?"),
        (SPLIT + "e.mp4,up,val\nf.mp4,down,test\n", "leave it out (and 1 more like it)"),
        ("path,m,split\na.mp4,x,train\nb.mp4,y,train\n", "no clips in the split 'val' (there are: train)"),
        ("path,m,split\na.mp4,x,val\nb.mp4,y,val\n", "has no clips in the split 'train' (there are: val)"),
        ("path,m\na.mp4,x\nb.mp4,x\n", "task 'm': all labels are 'x'"),
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


def test_a_missing_source_is_named_with_its_neighbour(csv, tmp_path):
    csv(SPLIT)
    with pytest.raises(FileNotFoundError, match=r"there is no .*label\.csv; did you mean 'labels\.csv'\?"):
        load_manifest(tmp_path / "label.csv")
    with pytest.raises(FileNotFoundError, match=r"clips/labels\.csv \(there is no .*clips\)"):
        load_manifest(tmp_path / "clips" / "labels.csv")


def test_a_source_of_no_known_format_is_told_the_known_ones(csv, tmp_path):
    csv(SPLIT)
    with pytest.raises(
        ValueError, match=r"a\.mp4 is not a data set that can be read; there are: a \.csv file .*; a folder"
    ):
        load_manifest(tmp_path / "a.mp4")


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_the_fraction_is_a_share(csv, fraction):
    with pytest.raises(ValueError, match="val_fraction must be above 0 and below 1"):
        load_manifest(csv(SPLIT), val_fraction=fraction)
