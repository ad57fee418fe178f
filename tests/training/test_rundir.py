import json
import os
from pathlib import Path

import pytest
import yaml

from unfreeze.training.rundir import RunDir, find_run


def finished(path, at: int):
    path.mkdir(parents=True)
    (path / "last.pt").write_bytes(b"")
    os.utime(path / "last.pt", (at, at))
    return path


def test_two_runs_in_one_second_get_two_folders(tmp_path):
    folders = {RunDir.create(str(tmp_path), None, "r3d_micro_none").path for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.parent == tmp_path and "r3d_micro_none" in folder.name for folder in folders)


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="already holds files; choose another with --run_dir"):
        RunDir.create("runs", str(tmp_path), "x")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_place_where_nothing_can_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot make the run folder .*: Not a directory; choose") as caught:
        RunDir.create(str(tmp_path / "file"), None, "x")
    assert "\n" not in str(caught.value)


def test_metrics_are_appended_and_cut_back(tmp_path):
    run = RunDir.create(str(tmp_path), None, "x")
    for epoch in (1, 2, 3):
        run.append({"epoch": epoch})
    run.rewrite([{"epoch": 1}])
    run.append({"epoch": 2, "task": "größe"})
    rows = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    assert rows == [{"epoch": 1}, {"epoch": 2, "task": "größe"}]


def test_config_keeps_its_order(tmp_path):
    run = RunDir.create(str(tmp_path), None, "x")
    run.write_config({"z": 1, "a": [0.1], "m": None})
    assert list(yaml.safe_load(run.config.read_text()).items()) == [("z", 1), ("a", [0.1]), ("m", None)]


def test_a_config_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    def full(path, text, **how):
        path.open("w").close()
        raise OSError(28, "No space left on device")

    run = RunDir.create(str(tmp_path), None, "x")
    run.write_config({"seed": 1})
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"cannot write .*config\.yaml: No space left on device"):
        run.write_config({"seed": 2})
    assert yaml.safe_load(run.config.read_text()) == {"seed": 1}
    assert not list(run.path.glob("*.tmp"))


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    run = RunDir.create(str(tmp_path), None, "x")
    run.metrics.mkdir()
    with pytest.raises(OSError, match=r"cannot write .*metrics\.jsonl: Is a directory"):
        run.append({"epoch": 1})


def test_last_is_the_run_that_was_written_to_last(tmp_path):
    finished(tmp_path / "a", at=100)
    newest = finished(tmp_path / "b", at=300)
    finished(tmp_path / "c", at=200)
    assert find_run("last", str(tmp_path)) == newest


def test_a_run_is_found_by_its_folder_or_its_last_pt(tmp_path):
    run = finished(tmp_path / "a", at=100)
    assert find_run(str(run), "elsewhere") == run
    assert find_run(str(run / "last.pt"), "elsewhere") == run


@pytest.mark.parametrize(
    ("resume", "message"),
    [
        ("last", "there is no run in .*check --output"),
        ("nowhere", "nowhere does not exist; give last, a run folder"),
        (".", "holds no last.pt"),
        ("a/best.pt", "best.pt has no optimizer state; give a/last.pt"),
    ],
)
def test_nothing_to_resume_says_so(tmp_path, monkeypatch, resume, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        find_run(resume, str(tmp_path))
