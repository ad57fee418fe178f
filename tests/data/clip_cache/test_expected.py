from __future__ import annotations

from pathlib import Path

import pytest

from unfreeze.data import VideoError, VideoInfo, View
from unfreeze.data.clip_cache import MAX_FRAMES, Expected, entry, expect
from unfreeze.data.clip_cache.expected import entry_bytes
from unfreeze.data.decode import read_all
from unfreeze.data.transforms import shrink


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((64, 48), 24, 32 * 24), ((48, 64), 24, 32 * 24), ((64, 48), 48, 64 * 48), ((64, 48), 99, 64 * 48)],
)
def test_frames_are_shrunk_and_never_enlarged(size, side, expected):
    assert entry_bytes(10, *size, side) == 10 * 3 * expected


def test_what_was_expected_is_what_is_written(tmp_path, write_video):
    views = [
        View(write_video(tmp_path / "a.mp4", 12, size=(64, 36))),
        View(write_video(tmp_path / "b.mp4", 20), start=0.5, end=1.5),
    ]
    written = 0
    for view in views:
        video = read_all(view.path, start=view.start, end=view.end, resize=lambda clip: shrink(clip, 20))
        written += entry.size_of(video)
    found = expect([*views, views[0]], 20)
    assert found.bytes == pytest.approx(written, rel=0.02)
    assert (found.views, found.too_long) == (2, 0)


def test_a_sample_stands_for_all():
    def info(view: View) -> VideoInfo:
        asked.append(view)
        return VideoInfo(100, 25.0, 100, 50, 4.0)

    asked: list[View] = []
    views = [View(Path(f"{i:04}.mp4")) for i in range(1000)]
    assert expect(views, 50, info=info, sample=50) == Expected(1000 * 100 * 3 * 5000, 1000, 0)
    assert 50 <= len(asked) <= 60
    assert {view.path.stem[0:2] for view in asked} == {f"{i:02}" for i in range(10)}


def test_long_views_are_counted_and_not_kept_unless_a_few_frames_are_wanted():
    def info(view: View) -> VideoInfo:
        return VideoInfo(MAX_FRAMES + (view.path.stem == "long"), 25.0, 10, 10, 80.0)

    views = [View(Path("long.mp4")), View(Path("short.mp4"))]
    assert expect(views, 10, info=info) == Expected(MAX_FRAMES * 300, 2, 1)
    assert expect(views, 10, frames=16, info=info) == Expected(2 * 16 * 300, 2, 0)


def test_unreadable_files_are_taken_for_average_ones():
    def info(view: View) -> VideoInfo:
        if view.path.stem == "bad":
            raise VideoError("bad")
        return VideoInfo(10, 25.0, 10, 10, 0.4)

    assert expect([View(Path("bad.mp4")), View(Path("good.mp4"))], 10, info=info).bytes == 2 * 3000
    assert expect([View(Path("bad.mp4"))], 10, info=info) == Expected(0, 1, 0)
    assert expect([], 10) == Expected(0, 0, 0)


def test_training_and_validation_add_up():
    assert Expected(10, 2, 1) + Expected(5, 1, 0) == Expected(15, 3, 1)
