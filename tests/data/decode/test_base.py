"""Stretches of files, and whole ones in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.data.decode import VideoError, probe, read_all, read_frames

pytestmark = pytest.mark.usefixtures("decoder")

VARIABLE = [0, 40, 50, 300, 310, 340, 900, 1000]


@pytest.fixture(scope="module")
def files(tmp_path_factory, write_video):
    root = tmp_path_factory.mktemp("files")
    return {
        "constant": write_video(root / "constant.mp4", 20, fps=10),
        "reordered": write_video(root / "reordered.mp4", 20, fps=10, options={"bf": "3", "g": "8"}),
        "variable": write_video(root / "variable.mp4", 8, ticks=VARIABLE, options={"bf": "0"}),
    }


@pytest.mark.parametrize(
    ("start", "end", "times", "expected"),
    [
        (None, None, [0.05, 1.95, 3.0], [0, 19, 19]),
        (0.0, 2.0, [0.05, 1.95, 3.0], [0, 19, 19]),
        (0.5, None, [0.0, 0.05, 1.45, 9.0], [5, 5, 19, 19]),
        (0.5, 1.0, [0.0, 0.05, 0.45, 0.5, 9.0], [5, 5, 9, 9, 9]),  # a frame that begins at the end is out
        (0.53, 1.03, [-1.0, 0.0, 0.08, 0.5], [5, 5, 6, 10]),  # the frame shown at the start is in
        (1.5, 99.0, [0.0, 0.45, 9.0], [15, 19, 19]),  # an end after the file is the file's
        (None, 0.2, [0.0, 0.15, 5.0], [0, 1, 1]),
        (0.55, 0.58, [0.0, 0.02], [5, 5]),
    ],
)
def test_a_stretch_is_a_video_of_its_own(files, which, start, end, times, expected):
    for name in ("constant", "reordered"):
        assert which(read_frames(files[name], times, start=start, end=end)) == expected
        assert which(read_all(files[name], start=start, end=end).at(times)) == expected


@pytest.mark.parametrize(
    ("start", "end", "frames", "duration"),
    [
        (None, None, 20, 2.0),
        (0.5, None, 15, 1.5),
        (0.5, 1.0, 5, 0.5),
        (None, 5.0, 20, 2.0),
        (0.5, 0.51, 1, 0.01),
    ],
)
def test_what_a_stretch_says_of_itself(files, start, end, frames, duration):
    info = probe(files["constant"], start=start, end=end)
    assert (info.frames, info.duration) == (frames, pytest.approx(duration))
    assert (info.fps, info.width, info.height) == (10, 32, 24)
    seen = []
    read_frames(files["constant"], lambda info: seen.append(info) or [0.0], start=start, end=end)
    assert seen == [info]


def test_all_of_a_stretch_with_times(files, which):
    video = read_all(files["variable"], start=0.045, end=0.9)
    assert which(video.frames) == [1, 2, 3, 4, 5]
    assert video.times == pytest.approx(np.array([40, 50, 300, 310, 340]) / 1000 - 0.045)
    assert video.times.dtype == np.float64
    assert torch.equal(read_frames(files["variable"], start=0.045, end=0.9), video.frames)


@given(
    name=st.sampled_from(["constant", "reordered", "variable"]),
    times=st.lists(
        st.floats(-0.5, 2.5) | st.sampled_from([t / 1000 for t in VARIABLE]), min_size=1, max_size=6
    ),
    start=st.none() | st.floats(0, 0.9),
    length=st.none() | st.floats(0.001, 2.5),
)
@settings(max_examples=40, deadline=None)
def test_a_video_in_memory_gives_the_frames_that_the_file_gives(files, name, times, start, length):
    end = None if length is None else (start or 0) + length
    video = read_all(files[name], start=start, end=end)
    assert torch.equal(video.at(times), read_frames(files[name], times, start=start, end=end))
    assert torch.equal(video.at(lambda info: times), video.at(times))


def test_frames_are_made_smaller_a_few_at_a_time(files):
    sizes = []

    def smaller(frames):
        sizes.append(len(frames))
        return frames[..., ::2, ::2]

    video = read_all(files["constant"], resize=smaller)
    assert video.frames.shape == (20, 3, 12, 16)
    assert max(sizes) <= 16
    assert torch.equal(video.frames, read_frames(files["constant"])[..., ::2, ::2])


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (2.0, None, r"start 2 is beyond its end at 2\.00 seconds; begin earlier"),
        (7.5, 8.0, r"start 7\.5 is beyond its end"),
        (1.0, 1.0, r"end 1 is not after start 1"),
        (1.0, 0.5, r"end 0\.5 is not after start 1"),
        (-1.0, None, r"start -1 is before the video"),
        (float("nan"), None, r"start nan"),
        (None, float("nan"), r"end nan is not after"),
    ],
)
def test_a_stretch_that_is_not_there_is_one_line(files, start, end, said):
    for read in (probe, read_frames, read_all):
        with pytest.raises(VideoError, match=rf"^{files['constant']}: {said}"):
            read(files["constant"], start=start, end=end)
