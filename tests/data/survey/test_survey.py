from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from unfreeze.data.survey import FileReport, survey
from unfreeze.data.survey.kept import Kept

MODULE = importlib.import_module("unfreeze.data.survey.survey")  # the package has its function by that name


def look(samples, root, **how):
    return survey(samples, root=root, **({"workers": 0, "decoder": "pyav"} | how))


@pytest.fixture
def looks(monkeypatch):
    """The files that are really looked at, in this process."""
    seen = []
    real = MODULE.examine

    def spied(path, beat, **how):
        seen.append(path.name)
        return real(path, beat, **how)

    monkeypatch.setattr(MODULE, "examine", spied)
    return seen


@pytest.mark.parametrize("workers", [0, 2])
def test_every_file_once_in_the_order_of_the_samples(files, tmp_path, sample, workers):
    good, other = files / "good.mp4", files / "other.mp4"
    samples = [sample(other, good), sample(good, start=1.0), sample(files / "text.mp4", split="val")]
    calls = []
    found = look(samples, tmp_path, workers=workers, progress=lambda *news: calls.append(news))
    assert list(found.reports) == [other, good, files / "text.mp4"]
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert (found.fresh, [report.path.name for report in found.bad]) == (3, ["text.mp4"])
    assert found.reports[good].frames == 24


def test_nobody_looks_twice_at_a_file_that_has_not_changed(files, tmp_path, sample, looks):
    samples = [sample(files / name) for name in ("good.mp4", "text.mp4", "empty.mp4")]
    first = look(samples, tmp_path)
    second = look(samples, tmp_path)
    assert looks == ["good.mp4", "text.mp4", "empty.mp4"]
    assert (first.fresh, second.fresh) == (3, 0)
    assert first.reports == second.reports


def test_a_changed_file_is_looked_at_again(files, tmp_path, sample, looks):
    path = tmp_path / "clip.mp4"
    path.write_bytes((files / "good.mp4").read_bytes())
    before = look([sample(path)], tmp_path).reports[path]
    path.write_bytes((files / "text.mp4").read_bytes())
    assert not look([sample(path)], tmp_path).reports[path].ok
    path.write_bytes((files / "good.mp4").read_bytes())
    os.utime(path, ns=(before.mtime_ns, before.mtime_ns))
    assert look([sample(path)], tmp_path).reports[path] == before  # what it was once is still known
    assert looks == ["clip.mp4"] * 2


def test_a_full_check_serves_a_quick_one_and_not_the_other_way_round(files, tmp_path, sample, looks):
    samples = [sample(files / "good.mp4")]
    look(samples, tmp_path, mode="quick")
    look(samples, tmp_path, mode="full")
    look(samples, tmp_path / "new", mode="full")
    look(samples, tmp_path / "new", mode="quick")
    assert len(looks) == 3


def test_a_missing_file_is_looked_for_again(files, tmp_path, sample, looks):
    path = tmp_path / "late.mp4"
    assert look([sample(path)], tmp_path).reports[path].trouble == "missing"
    path.write_bytes((files / "good.mp4").read_bytes())
    assert look([sample(path)], tmp_path).reports[path].ok


def test_another_name_of_a_file_is_in_the_messages(files, tmp_path, sample, monkeypatch):
    (tmp_path / "text.mp4").write_bytes((files / "text.mp4").read_bytes())
    look([sample(tmp_path / "text.mp4")], tmp_path)
    monkeypatch.chdir(tmp_path)
    report = look([sample(Path("text.mp4"))], tmp_path).reports[Path("text.mp4")]
    assert report.error.startswith("text.mp4: ")


def test_what_is_kept_is_whole_or_nothing(files, tmp_path, sample, looks):
    samples = [sample(files / "good.mp4")]
    look(samples, tmp_path)
    (entry,) = (tmp_path / "checks").rglob("*.json")
    for damage in ("", "{", "[]", '{"path": "x", "strange": 1}'):
        entry.write_text(damage)
        assert look(samples, tmp_path).reports[files / "good.mp4"].ok
    assert len(looks) == 5
    assert not list((tmp_path / "checks").rglob("*.part"))


def test_a_cache_that_cannot_be_written_keeps_nothing(files, tmp_path, sample):
    (tmp_path / "checks").write_text("a file in the way")
    assert look([sample(files / "good.mp4")], tmp_path).reports[files / "good.mp4"].ok


def killed(path, beat, **how):
    if path.name == "other.mp4":
        os._exit(7)
    return FileReport(path)


def test_a_decoder_that_kills_its_process_costs_the_file_and_not_the_run(
    files, tmp_path, sample, monkeypatch
):
    monkeypatch.setattr(MODULE, "examine", killed)
    names = ["good.mp4", "other.mp4", "first.mp4", "brief.mp4"]
    found = look([sample(files / name) for name in names], tmp_path, workers=2)
    (bad,) = found.bad
    assert (bad.path.name, bad.trouble) == ("other.mp4", "crashed")
    assert bad.error == (
        f"{files / 'other.mp4'}: the decoder crashes (exit code 7); encode it again or leave it out"
    )
    # a crash may have been the machine's fault, so it is not remembered
    assert Kept(tmp_path / "checks", mode="full", decoder="pyav").get(files / "other.mp4") is None


def test_both_decoders_find_the_same(files, tmp_path, sample):
    pytest.importorskip("torchcodec")
    names = ("good.mp4", "text.mp4", "truncated.mp4", "phone.mp4", "empty.mp4", "sound.mp4")
    samples = [sample(files / name) for name in names]
    one, other = (look(samples, tmp_path, decoder=name).reports for name in ("pyav", "torchcodec"))
    assert [r.trouble for r in one.values()] == [r.trouble for r in other.values()]


def test_a_report_survives_json():
    report = FileReport(Path("a.mp4"), "truncated", "a.mp4: breaks off", frames=3, seconds=0.3)
    assert FileReport.from_dict(report.to_dict()) == report
