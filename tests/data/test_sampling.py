from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.decode import VideoInfo
from unfreeze.data.sampling import clip_times, evaluation_times, segment_times, stride_times, window_times
from unfreeze.preprocessing import Preprocessing

durations = st.floats(0.01, 1e4)
counts = st.integers(1, 64)
rates = st.floats(0.5, 120)
shares = st.floats(0, 1, exclude_max=True)


@given(duration=durations, offsets=st.lists(shares, min_size=1, max_size=64))
def test_every_segment_has_its_moment(duration, offsets):
    part = duration / len(offsets)
    for i, time in enumerate(segment_times(duration, len(offsets), offsets)):
        assert i * part * (1 - 1e-9) <= time <= (i + 1) * part * (1 + 1e-9)


@given(duration=durations, frames=counts)
def test_in_evaluation_segments_are_symmetric_about_the_middle(duration, frames):
    times = segment_times(duration, frames)
    mirrored = [duration - time for time in reversed(times)]
    assert times == pytest.approx(mirrored, rel=1e-6, abs=1e-9)


@given(duration=durations, frames=counts, fps=rates, position=st.floats(0, 1))
def test_a_window_is_evenly_spaced_and_inside_if_it_fits(duration, frames, fps, position):
    times = window_times(duration, frames, fps, position)
    assert len(times) == frames
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == pytest.approx([1 / fps] * (frames - 1), rel=1e-6, abs=1e-6)
    assert times[0] > 0
    if frames / fps <= duration:
        assert times[-1] < duration


@given(
    frames=counts, fps=st.sampled_from([7.5, 10, 15, 24, 25, 30000 / 1001, 30, 60]), start=st.integers(0, 500)
)
def test_at_the_rate_of_the_video_a_window_takes_consecutive_frames(frames, fps, start):
    total = frames + start
    times = window_times(total / fps, frames, fps, position=1.0)
    assert [int(time * fps) for time in times] == list(range(start, total))


@given(frames=counts)
def test_a_video_with_as_many_frames_as_the_clip_is_taken_whole(frames):
    times = segment_times(frames / 25, frames)
    assert [int(time * 25) for time in times] == list(range(frames))


def test_a_window_longer_than_the_video_starts_with_it():
    for position in (0.0, 0.5, 1.0):
        assert window_times(0.3, 4, 10, position) == pytest.approx([0.05, 0.15, 0.25, 0.35])


@pytest.mark.parametrize(("position", "first"), [(0.0, 0.05), (0.5, 0.55), (1.0, 1.05)])
def test_where_a_window_lies(position, first):
    assert window_times(2.0, 10, 10, position)[0] == pytest.approx(first)


PICTURES = {"resize": 16, "crop": (16, 16), "mean": (0.5,) * 3, "std": (0.2,) * 3}
TEN_SECONDS = VideoInfo(frames=250, fps=25.0, width=32, height=24, duration=10.0)


def clip(**how) -> Preprocessing:
    return Preprocessing(**{"frames": 4, **PICTURES, **how})


def frames_of(times, info=TEN_SECONDS) -> list[int]:
    return [int(time * info.fps + 1e-6) for time in times]


@given(
    total=st.integers(1, 500),
    fps=st.sampled_from([7.5, 24, 25, 30000 / 1001, 60]),
    frames=counts,
    stride=st.integers(1, 9),
    position=st.floats(0, 1),
)
def test_a_stride_takes_every_so_many_th_frame(total, fps, frames, stride, position):
    taken = [int(time * fps) for time in stride_times(total, fps, frames, stride, position)]
    assert taken == list(range(taken[0], taken[0] + frames * stride, stride))
    assert taken[0] >= 0
    if (frames - 1) * stride < total:
        assert taken[-1] < total
    else:
        assert taken[0] == 0


def test_a_stride_reaches_both_ends():
    taken = {
        (round(times[0] * 10 - 0.5), round(times[-1] * 10 - 0.5))
        for times in (stride_times(20, 10, 4, 3, share / 100) for share in range(100))
    }
    assert taken == {(first, first + 9) for first in range(11)}


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, [31, 93, 156, 218]),
        ({"fps": 25.0}, [123, 124, 125, 126]),
        ({"fps": 1.0}, [87, 112, 137, 162]),
        ({"stride": 1}, [123, 124, 125, 126]),
        ({"stride": 3}, [120, 123, 126, 129]),
    ],
)
def test_what_chooses_the_moments(how, expected):
    assert frames_of(clip_times(clip(**how), TEN_SECONDS)) == expected
    assert evaluation_times(clip(**how), TEN_SECONDS) == clip_times(clip(**how), TEN_SECONDS)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, [15, 78, 140, 203, 46, 109, 171, 234]),
        ({"fps": 25.0}, [62, 63, 64, 65, 185, 186, 187, 188]),
        ({"stride": 2}, [61, 63, 65, 67, 183, 185, 187, 189]),
    ],
)
def test_several_evaluation_clips_lie_evenly(how, expected):
    assert frames_of(evaluation_times(clip(**how), TEN_SECONDS, 2)) == expected


SHORT = VideoInfo(frames=3, fps=10.0, width=32, height=24, duration=0.3)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"fps": 10.0, "frames": 7}, [0, 1, 2, 3, 4, 5, 6]),  # past the end is the last frame again
        ({"fps": 10.0, "frames": 7, "short": "wrap"}, [0, 1, 2, 0, 1, 2, 0]),
        ({"stride": 2, "frames": 4, "short": "wrap"}, [0, 2, 1, 0]),
        ({"frames": 6, "short": "wrap"}, [0, 0, 1, 1, 2, 2]),  # segments never pass the end
    ],
)
def test_what_fills_a_clip_longer_than_its_video(how, expected):
    assert frames_of(clip_times(clip(**how), SHORT), SHORT) == expected


@given(frames=counts, start=st.integers(0, 100), fps=st.sampled_from([10, 24, 25, 30000 / 1001, 60]))
def test_a_window_that_fits_never_wraps(frames, start, fps):
    info = VideoInfo(frames + start, fps, 32, 24, (frames + start) / fps)
    for how in ({"fps": fps}, {"stride": 1}):
        plain, wrapped = (clip(frames=frames, short=short, **how) for short in ("repeat", "wrap"))
        assert clip_times(wrapped, info, position=1.0) == clip_times(plain, info, position=1.0)


@pytest.mark.parametrize("how", [{"fps": 5.0}, {"stride": 5}])
def test_speed_spaces_the_moments_of_a_window(how):
    for speed in (0.5, 1.0, 1.25):
        times = clip_times(clip(**how), TEN_SECONDS, speed=speed)
        assert [b - a for a, b in pairwise(times)] == pytest.approx([0.2 * speed] * 3)


def test_speed_shows_a_part_in_segments():
    slow = clip_times(clip(), TEN_SECONDS, speed=0.8, position=1.0)
    assert slow == pytest.approx([3, 5, 7, 9])
    assert clip_times(clip(), TEN_SECONDS, speed=1.25) == clip_times(clip(), TEN_SECONDS)
