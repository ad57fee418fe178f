from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.sampling import segment_times, window_times

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
