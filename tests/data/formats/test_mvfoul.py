"""SoccerNet-MVFoul on made-up annotations: the filter as published, views, splits, and what can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unfreeze.data import load_manifest
from unfreeze.data.formats import mvfoul, recognise


def action(kind: str, offence: str, severity: str, clips: int = 2, match: str = "a v b") -> dict[str, Any]:
    urls = [{"Url": f"Dataset/Train/action_9/clip_{i}", "Replay speed": 1.0} for i in range(clips)]
    return {"UrlLocal": match, "Action class": kind, "Offence": offence, "Severity": severity, "Clips": urls}


def write(root: Path, split: str, actions: dict[str, Any], said: str | None = None) -> Path:
    for number, content in actions.items():
        folder = root / split / f"action_{number}"
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(len(content.get("Clips", []))):
            (folder / f"clip_{i}.mp4").touch()
    content = {"Set": said or split.lower(), "Number of actions": len(actions), "Actions": actions}
    (root / split).mkdir(exist_ok=True)
    (root / split / "annotations.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def data(tmp_path):
    write(
        tmp_path, "Train", {"0": action("Dive", "Between", ""), "1": action("Holding", "Offence", "5.0", 4)}
    )
    write(
        tmp_path, "Valid", {"0": action("Dive", "Offence", "1.0"), "7": action("Holding", "Offence", "5.0")}
    )
    write(tmp_path, "Test", {"3": action("Holding", "Offence", "5.0")})
    write(tmp_path, "Chall", {"0": {"Clips": []}, "1": {"Clips": []}})
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "offence", "severity", "labels"),
    [
        ("Tackling", "Offence", "1.0", ("Tackling", "Offence + No card")),
        ("High leg", "Offence", "3.0", ("High leg", "Offence + Yellow card")),
        ("Pushing", "Offence", "5.0", ("Pushing", "Offence + Red card")),
        ("Pushing", "No offence", "", ("Pushing", "No offence")),
        ("Pushing", "No Offence", "3.0", ("Pushing", "No offence")),
        ("Elbowing", "No offence", "2.0", ("Elbowing", "No offence")),
        ("", "Offence", "1.0", "no action class"),
        ("Dont know", "Offence", "1.0", "no action class"),
        ("Tackling", "", "1.0", "undecided offence"),
        ("Tackling", "Between", "", "undecided offence"),
        ("Tackling", "Offence", "", "undecided severity"),
        ("Tackling", "Offence", "2.0", "undecided severity"),
        ("Tackling", "Offence", "4.0", "undecided severity"),
        ("Dive", "", "", ("Dive", "Offence + No card")),
        ("Dive", "Between", "4.0", ("Dive", "Offence + No card")),
        ("Dive", "Offence", "3.0", ("Dive", "Offence + Yellow card")),
        ("Dive", "No Offence", "", ("Dive", "No offence")),
        ("Tackling", "Perhaps", "1.0", "unknown offence or severity"),
        ("Tackling", "Offence", "7.0", "unknown offence or severity"),
    ],
)
def test_the_published_filter(kind, offence, severity, labels):
    assert mvfoul.labels_of(action(kind, offence, severity)) == labels


def test_splits_tasks_and_views(data):
    assert recognise(data) is mvfoul
    manifest = load_manifest(data)
    assert manifest.tasks == {"action": mvfoul.ACTIONS, "severity": mvfoul.SEVERITIES}
    assert [(s.split, s.row, len(s.views), s.group) for s in manifest.samples] == [
        ("train", "Train/annotations.json, action 0", 2, "a v b"),
        ("train", "Train/annotations.json, action 1", 4, "a v b"),
        ("val", "Valid/annotations.json, action 0", 2, "a v b"),
        ("val", "Valid/annotations.json, action 7", 2, "a v b"),
        ("test", "Test/annotations.json, action 3", 2, "a v b"),
    ]
    assert [view.path for view in manifest.samples[1].views] == [
        data / "Train" / "action_1" / f"clip_{i}.mp4" for i in range(4)
    ]
    assert manifest.samples[1].labels == {"action": 3, "severity": 3}
    assert manifest.samples[0].views[0].start is None


def test_the_window_of_the_published_weights(data):
    manifest = load_manifest(data, window=mvfoul.FOUL_WINDOW)
    view = manifest.samples[0].views[0]
    assert (view.start * 25, view.end * 25) == (63, 88)


def test_what_is_left_aside_is_said(data):
    write(data, "Train", {"0": action("Dive", "", ""), "1": action("Holding", "Offence", "5.0"),
                          "2": action("", "", ""), "3": action("Holding", "Offence", "2.0"),
                          "4": action("Holding", "Offence", "4.0")})  # fmt: skip
    notes = load_manifest(data).notes
    assert notes[0].endswith(
        "annotations.json: 3 of 5 actions left aside: 2 with undecided severity, 1 with no action class"
    )
    assert notes[1].endswith("the 2 actions of the challenge have no labels and are left aside")
    assert any("group 'a v b' is in val" in note for note in notes)


def test_one_task_alone_and_one_split_alone(data):
    assert load_manifest(data, tasks=["severity"]).tasks == {"severity": mvfoul.SEVERITIES}
    for source in (data / "Test", data / "Test" / "annotations.json"):
        manifest = load_manifest(source, classes=mvfoul.CLASSES)
        assert [(s.split, s.path.parent.name) for s in manifest.samples] == [("test", "action_3")]
    with pytest.raises(ValueError, match=r"has no task 'actions'; did you mean 'action'\?"):
        load_manifest(data, tasks=["actions"])


def test_a_folder_of_another_name_goes_by_its_set(tmp_path):
    write(tmp_path, "mine", {"3": action("Holding", "Offence", "5.0")}, said="test")
    manifest = load_manifest(tmp_path / "mine", classes=mvfoul.CLASSES)
    assert [s.split for s in manifest.samples] == ["test"]


def test_every_missing_clip_is_counted_and_the_first_named(data):
    (data / "Train" / "action_1" / "clip_3.mp4").unlink()
    (data / "Valid" / "action_7" / "clip_0.mp4").unlink()
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load_manifest(data)
    assert str(caught.value) == (
        f"Train/annotations.json, action 1: there is no file {data}/Train/action_1/clip_3.mp4; unpack it "
        "from the archive of Train, or remove the action from annotations.json (and 1 more like it)"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "annotations.json is no valid JSON"),
        ('{"images": []}', "annotations.json has no 'Actions', so it is not SoccerNet-MVF"),
        ('{"Actions": {"0": []}}', "annotations.json has no 'Actions', so it is not SoccerNet-MVF"),
        ({"0": action("Tackle", "Offence", "1.0")}, "'Tackle'; correct it there; did you mean 'Tackling'?"),
        ({"0": action("Dive", "Offence", "1.0", clips=1)}, "action 0: fewer than two clips; complete its"),
        ({"0": action("", "Offence", "1.0")}, "has no action with labels"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_with_the_action(tmp_path, content, said):
    write(tmp_path, "Train", content if isinstance(content, dict) else {})
    if isinstance(content, str):
        (tmp_path / "Train" / "annotations.json").write_text(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load_manifest(tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_challenge_alone_has_nothing_to_learn(data, tmp_path):
    with pytest.raises(ValueError, match=r"no action with labels; .* of the challenge have no labels"):
        load_manifest(data / "Chall")
    with pytest.raises(ValueError, match=r"has no annotations\.json, nor have Train, Valid and Test in it"):
        load_manifest(data / "Train" / "action_0", data_format="mvfoul")
