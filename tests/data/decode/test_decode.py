from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.data.decode import VideoError, VideoInfo, probe, pyav, read_frames

pytestmark = pytest.mark.usefixtures("decoder")


@pytest.fixture
def clip(tmp_path, write_video) -> Path:
    return write_video(tmp_path / "clip.mp4", 8, fps=10, size=(32, 24))


def test_probe_reads_size_and_length_from_the_file(clip):
    assert probe(clip) == VideoInfo(frames=8, fps=10.0, width=32, height=24, duration=pytest.approx(0.8))


def test_all_frames_in_order_as_uint8_rgb(clip, which):
    frames = read_frames(clip)
    assert frames.shape == (8, 3, 24, 32)
    assert frames.dtype == torch.uint8
    assert which(frames) == list(range(8))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.05, 0.35, 0.75], [0, 3, 7]),
        ([0.1, 0.2, 0.3], [1, 2, 3]),  # a frame is shown from its own time on
        ([0.3 - 1e-9, 0.3 - 1e-3], [3, 2]),  # rounding does not count
        ([0.75, 0.05, 0.35, 0.05], [7, 0, 3, 0]),  # any order, repeated
        ([-1.0, 0.0, 5.0, 9.0], [0, 0, 7, 7]),  # outside: the first, the last
    ],
)
def test_the_frame_shown_at_a_time(clip, which, times, expected):
    assert which(read_frames(clip, times)) == expected


def test_times_may_be_chosen_from_what_the_file_says(clip, which):
    assert which(read_frames(clip, lambda info: [info.duration / 2 + 0.05])) == [4]


def test_a_variable_frame_rate_is_sampled_by_time(tmp_path, write_video, which):
    path = write_video(tmp_path / "phone.mp4", 6, ticks=[0, 100, 200, 1000, 1100, 1300])
    assert which(read_frames(path, [0.15, 0.25, 0.6, 0.95, 1.05, 1.2, 1.35])) == [1, 2, 2, 2, 3, 4, 5]
    assert probe(path).frames == 6


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("clip.mkv", {}),
        ("clip.ts", {}),
        ("clip.avi", {"codec": "mpeg4"}),
        ("clip.gif", {"codec": "gif", "pix_fmt": "gray"}),
        ("clip.webm", {"codec": "libvpx-vp9"}),
        ("clip.mov", {"codec": "libx265", "options": {"x265-params": "log-level=none:pools=1"}}),
        ("clip.mp4", {"pix_fmt": "yuv420p10le"}),
    ],
)
def test_containers_and_codecs_also_those_that_do_not_declare_their_length(
    tmp_path, write_video, which, name, kind
):
    path = write_video(tmp_path / name, 8, **kind)
    info = probe(path)
    assert (info.frames, info.fps, info.duration) == (8, pytest.approx(10), pytest.approx(0.8, abs=0.02))
    assert which(read_frames(path)) == list(range(8))
    assert which(read_frames(path, [0.05, 0.45, 0.75])) == [0, 4, 7]


@pytest.mark.parametrize("size", [(35, 21), (17, 64), (1, 1)])
def test_odd_sizes(tmp_path, write_video, which, size):
    path = write_video(tmp_path / "odd.mp4", 3, size=size, pix_fmt="yuv444p")
    frames = read_frames(path)
    assert frames.shape == (3, 3, size[1], size[0])
    assert which(frames) == [0, 1, 2]


@pytest.mark.parametrize("name", ["one.mp4", "one.mkv", "one.gif"])
def test_a_single_frame_serves_every_moment(tmp_path, write_video, which, name):
    kind = {"codec": "gif", "pix_fmt": "gray"} if name.endswith("gif") else {}
    path = write_video(tmp_path / name, 1, **kind)
    assert probe(path).duration > 0
    assert which(read_frames(path, [0.0, 0.3, 2.0])) == [0, 0, 0]


def test_rotation_in_the_metadata_is_applied(tmp_path, write_video, turn_clockwise):
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[:8, :8] = 255  # bright at the top left
    path = write_video(tmp_path / "upright.mp4", 2, picture=picture)
    upright = read_frames(path)
    turn_clockwise(path)
    turned = read_frames(path, [0.05])
    assert turned.shape == (1, 3, 32, 24)
    assert torch.equal(turned[0], torch.rot90(upright[0], -1, (1, 2)))
    assert turned[0, :, :8, -8:].float().mean() > 200  # top left has become top right


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory, write_video) -> Path:
    return write_video(tmp_path_factory.mktemp("long") / "long.mp4", 400, fps=25, size=(16, 16), noise=True,
                       options={"g": "20", "bf": "3", "preset": "ultrafast"})  # fmt: skip


@pytest.fixture(scope="module")
def long_reference(long_clip) -> tuple[list[float], torch.Tensor]:
    """Plain and slow: every frame with its time."""
    with av.open(long_clip) as container:
        frames = list(container.decode(video=0))
    return [f.time for f in frames], torch.stack(
        [torch.from_numpy(f.to_ndarray(format="rgb24")) for f in frames]
    )


@given(times=st.lists(st.floats(-1, 17), min_size=1, max_size=6), worth=st.sampled_from([5, 60, 250, 1000]))
@settings(max_examples=25)
def test_seeking_gives_the_frames_of_plain_decoding(long_clip, long_reference, times, worth):
    stamps, frames = long_reference
    expected = [
        frames[max((i for i, t in enumerate(stamps) if t <= time + 1e-6), default=0)] for time in times
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyav, "_WORTH_A_SEEK", worth)
        found = read_frames(long_clip, times)
    assert torch.equal(found, torch.stack(expected).permute(0, 3, 1, 2))


def test_a_long_gap_is_not_decoded(long_clip, monkeypatch):
    decoded = []
    plain = pyav.Source.frames
    monkeypatch.setattr(pyav.Source, "frames", lambda self: (decoded.append(f) or f for f in plain(self)))
    read_frames(long_clip, [0.0, 15.9])
    assert len(decoded) < 60


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory, write_video) -> Path:
    root = tmp_path_factory.mktemp("bad")
    (root / "folder.mp4").mkdir()
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a video\n" * 50)
    whole = write_video(root / "whole.mp4", 24, noise=True).read_bytes()
    (root / "index_lost.mp4").write_bytes(whole[: len(whole) // 2])
    first = write_video(root / "first.mp4", 24, noise=True, container={"movflags": "faststart"})
    with av.open(first) as container:
        starts = sorted(packet.pos for packet in container.demux(video=0) if packet.pos is not None)
    (root / "half.mp4").write_bytes(first.read_bytes()[: starts[12]])
    (root / "torn.mp4").write_bytes(first.read_bytes()[: starts[12] + 100])
    with av.open(root / "sound.mp4", "w") as output:
        stream = output.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return root


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.mp4", "no such file"),
        ("folder.mp4", "is a folder"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "cannot be decoded as video (invalid data"),
        ("index_lost.mp4", "cannot be decoded as video"),
        ("half.mp4", "of 2.40 seconds (truncated?)"),
        ("torn.mp4", "cannot be decoded as video"),
        ("sound.mp4", "only sound"),
    ],
)
@pytest.mark.parametrize("times", [None, [0.5, 2.3]])
def test_a_bad_file_is_named_in_one_line(bad_files, name, said, times):
    with pytest.raises(VideoError) as caught:
        read_frames(bad_files / name, times)
    message = str(caught.value)
    assert message.startswith(f"{bad_files / name}: ")
    assert said in message
    assert "\n" not in message


def test_what_is_left_of_a_truncated_file_can_be_read(bad_files):
    whole = read_frames(bad_files / "first.mp4", [0.1, 0.3])
    assert torch.equal(read_frames(bad_files / "half.mp4", [0.1, 0.3]), whole)


def test_a_size_that_changes_midway_is_refused(tmp_path, write_video):
    small = write_video(tmp_path / "a.ts", 3, size=(32, 24)).read_bytes()
    large = write_video(tmp_path / "b.ts", 3, size=(64, 48)).read_bytes()
    (tmp_path / "both.ts").write_bytes(small + large)
    with pytest.raises(VideoError, match=r"both\.ts: the size of the picture changes"):
        read_frames(tmp_path / "both.ts")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux shows them")
def test_no_file_stays_open(clip, bad_files):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read_frames(clip, [0.1])
        probe(clip)
        for bad in ("text.mp4", "half.mp4", "sound.mp4"):
            with pytest.raises(VideoError):
                read_frames(bad_files / bad)
    assert len(os.listdir("/proc/self/fd")) == before
