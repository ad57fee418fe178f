from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unfreeze.data.clip_cache import entry
from unfreeze.data.clip_cache.entry import DamagedError


def never(status: os.stat_result) -> bool:
    return False


def always(status: os.stat_result) -> bool:
    return True


@pytest.mark.parametrize("by_pixel", [True, False])
@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("size", [(6, 8), (1, 1), (7, 1)])
def test_what_is_read_is_what_was_written(tmp_path, video_of, same, frames, size, by_pixel):
    video = video_of(frames=frames, size=size, by_pixel=by_pixel)
    entry.write(tmp_path / "a.clip", video)
    for verified in (never, always):
        found = entry.read(tmp_path / "a.clip", verified)
        assert found is not None
        assert torch.equal(found.frames, video.frames)
        assert found.times.tobytes() == video.times.tobytes()
        assert found.info == video.info
        if 1 not in size:  # where it is 1, several strides mean the same order
            assert same(found, video)
    assert [path.name for path in tmp_path.iterdir()] == ["a.clip"]
    assert (tmp_path / "a.clip").stat().st_size - entry.size_of(video) < 300


def test_picking_moments_gives_those_of_the_video_itself(tmp_path, video_of):
    video = video_of()
    entry.write(tmp_path / "a.clip", video)
    found = entry.read(tmp_path / "a.clip", never)
    moments = [-1.0, *video.times, *(video.times + 0.01), 99.0]
    assert torch.equal(found.at(moments), video.at(moments))
    assert found.at(moments).stride() == video.at(moments).stride()


def test_there_is_none(tmp_path):
    assert entry.read(tmp_path / "a.clip", never) is None


def test_what_is_done_to_the_frames_does_not_reach_the_file(tmp_path, video_of, same):
    entry.write(tmp_path / "a.clip", video_of())
    first = entry.read(tmp_path / "a.clip", never)
    first.at([0.0]).zero_()
    assert same(first, video_of())
    first.frames.zero_()
    assert same(entry.read(tmp_path / "a.clip", never), video_of())


def test_an_entry_that_is_removed_stays_readable_where_it_is_in_use(tmp_path, video_of, same):
    entry.write(tmp_path / "a.clip", video_of(size=(64, 64)))
    found = entry.read(tmp_path / "a.clip", always)
    (tmp_path / "a.clip").unlink()
    assert same(found, video_of(size=(64, 64)))


def test_no_file_stays_open(tmp_path, video_of):
    entry.write(tmp_path / "a.clip", video_of())
    before = len(os.listdir("/proc/self/fd"))
    kept = [entry.read(tmp_path / "a.clip", never) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(kept) == 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_torn_or_altered_entry_is_refused_wherever_the_damage_is(tmp_path, video_of, data):
    path = tmp_path / "a.clip"
    entry.write(path, video_of())
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:at])
    else:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    with pytest.raises(DamagedError):
        entry.read(path, never)


def test_the_right_length_full_of_zeros_as_a_power_failure_leaves_it(tmp_path, video_of):
    path = tmp_path / "a.clip"
    entry.write(path, video_of())
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DamagedError):
        entry.read(path, never)


def test_a_writer_that_is_killed_leaves_no_entry(tmp_path):
    """It is stopped dead after the header and half of the frames have gone to the disk."""
    code = f"""
import os, signal, sys, torch, numpy as np
from pathlib import Path
from unfreeze.data import VideoInfo
from unfreeze.data.clip_cache import entry
from unfreeze.data.decode import DecodedVideo

class Dies:
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def write(self, part):
        self.file.write(bytes(part)[: len(bytes(part)) // 2])
        self.file.flush()
        if len(bytes(part)) > 1000:
            os.kill(os.getpid(), signal.SIGKILL)

opened = Path.open
Path.open = lambda self, mode: Dies(opened(self, mode))
info = VideoInfo(4, 1.0, 32, 32, 4.0)
video = DecodedVideo(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), np.arange(4.0), info)
entry.write(Path({str(tmp_path)!r}) / "a.clip", video)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    [left] = tmp_path.iterdir()
    assert left.suffix == entry.UNFINISHED
    assert left.stat().st_size > 1000
    assert entry.read(tmp_path / "a.clip", never) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_failed_write_leaves_nothing_behind(tmp_path, video_of, monkeypatch, number):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match=os.strerror(number)):
        entry.write(tmp_path / "a.clip", video_of())
    assert list(tmp_path.iterdir()) == []


def test_of_two_writers_either_wins(tmp_path: Path, video_of, same):
    entry.write(tmp_path / "a.clip", video_of())
    mapped = entry.read(tmp_path / "a.clip", never)
    entry.write(tmp_path / "a.clip", video_of())
    assert same(mapped, video_of())
    assert same(entry.read(tmp_path / "a.clip", never), video_of())
