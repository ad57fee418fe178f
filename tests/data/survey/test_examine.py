from __future__ import annotations

import hashlib

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.survey import FileReport, examine
from unfreeze.data.survey.examine import is_variable


def look(path, mode="full", beat=lambda: None) -> FileReport:
    return examine.examine(path, beat, mode=mode, decoder="pyav")


@pytest.mark.parametrize("mode", ["full", "quick"])
@pytest.mark.parametrize(
    ("name", "trouble", "said"),
    [
        ("good.mp4", "", ""),
        ("missing.mp4", "missing", "no such file"),
        ("empty.mp4", "empty", "the file is empty"),
        ("sound.mp4", "sound_only", "only sound"),
        ("truncated.mp4", "truncated", "of 2.40 seconds"),
        ("text.mp4", "unreadable", "cannot be decoded as video"),
        ("phone.mp4", "", ""),
        ("ten_bits.mp4", "", ""),
        ("ten_hours.mp4", "", ""),
    ],
)
def test_each_kind_of_file_has_its_name_and_its_line(files, name, trouble, said, mode):
    report = look(files / name, mode)
    assert (report.trouble, report.ok) == (trouble, not trouble)
    assert said in report.error
    assert report.error.startswith(f"{files / name}: ") == bool(trouble)
    assert "\n" not in report.error


def test_what_a_good_file_is_like(files):
    report = look(files / "good.mp4")
    data = (files / "good.mp4").read_bytes()
    assert report == FileReport(
        path=files / "good.mp4",
        frames=24,
        seconds=pytest.approx(2.4),
        fps=pytest.approx(10),
        width=32,
        height=24,
        codec="h264",
        depth=8,
        digest=hashlib.blake2b(data, digest_size=20).hexdigest(),
        size=len(data),
        mtime_ns=(files / "good.mp4").stat().st_mtime_ns,
        decoded_seconds=pytest.approx(2.4),
    )
    assert look(files / "good.mp4", "quick").decoded_seconds == 0


def test_depth_and_rate(files):
    assert look(files / "ten_bits.mp4").depth == 10
    assert look(files / "phone.mp4").variable_rate
    assert look(files / "phone.mp4").frames == 6


def test_what_only_decoding_shows(files, tmp_path):
    """Here: the size of the picture changes midway."""
    path = tmp_path / "both.ts"
    path.write_bytes(b"")
    for size in ((32, 24), (64, 48)):
        with av.open(tmp_path / "part.ts", "w") as output:
            stream = output.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for _ in range(4):
                picture = np.zeros((size[1], size[0], 3), np.uint8)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode())
        path.write_bytes(path.read_bytes() + (tmp_path / "part.ts").read_bytes())
    assert "size of the picture changes" in look(path).error


def test_of_a_ten_hour_file_only_the_beginning_is_decoded(files):
    report = look(files / "ten_hours.mp4")
    assert report.ok
    assert report.seconds > 36_000
    assert report.decoded_seconds == examine.MOST_DECODED
    assert "10.0 hours long, so only the first 20.0 minutes were decoded" in report.note
    assert report.frames == 3


def test_it_beats_while_it_decodes_and_holds_a_pixel_a_frame(files, monkeypatch):
    seen = []
    real = examine.read_all

    def spied(path, **how):
        video = real(path, **how)
        seen.append(video.frames.untyped_storage().nbytes())
        return video

    monkeypatch.setattr(examine, "read_all", spied)
    beats = []
    look(files / "good.mp4", beat=lambda: beats.append(1))
    assert len(beats) >= 24  # a packet each, and more
    assert seen == [24 * 3]


def test_whatever_a_decoder_does_to_a_file_is_the_files_fault(files, monkeypatch):
    def broken(path, **how):
        raise RuntimeError("deep\ntrouble")

    monkeypatch.setattr(examine, "read_all", broken)
    report = look(files / "good.mp4")
    assert report.trouble == "unreadable"
    assert report.error == f"{files / 'good.mp4'}: deep trouble; copy or encode it again"


@pytest.mark.parametrize(
    ("times", "variable"),
    [
        ([], False),
        ([0.0], False),
        ([0.0, 1.0], False),
        ([0.0, 0.033, 0.067, 0.1], False),  # rounded to milliseconds
        ([0.0, 0.002, 0.004, 0.005], False),
        ([0.0, 0.04, 0.08, 0.16], True),
        ([0.0, 0.1, 0.2, 1.0], True),
    ],
)
def test_a_variable_rate_is_more_than_rounding(times, variable):
    assert is_variable(times) is variable


@given(st.floats(1, 120), st.integers(3, 50))
def test_no_constant_rate_is_called_variable_whatever_the_container_rounds_to(fps, frames):
    assert not is_variable([round(i / fps, 3) for i in range(frames)])
