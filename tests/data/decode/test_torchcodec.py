"""TorchCodec gives what PyAV gives, and where it cannot, PyAV does."""

from __future__ import annotations

import random
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
import torch

from unfreeze.data.decode import pick_decoder, probe, read_all, read_frames, torchcodec

loads = pytest.mark.skipif(torchcodec.why_not() is not None, reason=f"TorchCodec: {torchcodec.why_not()}")

X265 = {"x265-params": "log-level=none:pools=1"}
VARIABLE = [0, 40, 50, 300, 310, 340, 900, 1000, 1001, 1400, 1500, 1900]  # milliseconds
# name -> how it is written; all 12 frames of noise, so that no two pixels are alike
BOTH = {
    "constant.mp4": {},
    "reordered.mp4": {"options": {"bf": "3", "g": "6"}},
    "variable.mp4": {"ticks": VARIABLE, "options": {"bf": "2"}},
    "late.mp4": {"ticks": [500 + 40 * i for i in range(12)]},
    "odd.mp4": {"size": (35, 21), "pix_fmt": "yuv444p"},
    "narrow.mp4": {"size": (34, 22)},
    "speck.mp4": {"size": (1, 1), "pix_fmt": "yuv444p"},
    "rotated.mp4": {"turn": True},
    "single.mp4": {"frames": 1},
    "two.mkv": {"frames": 2},
    "matroska.mkv": {"options": {"bf": "3"}},
    "hevc.mov": {"codec": "libx265", "options": X265},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "av1.mp4": {"codec": "libsvtav1", "size": (64, 64), "options": {"preset": "12"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "clip.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "grey.mp4": {"pix_fmt": "gray"},
    "full_range.mp4": {"pix_fmt": "yuvj420p"},
}  # fmt: skip
PYAV_ONLY = {
    "ten_bits.mp4": {"pix_fmt": "yuv420p10le"},
    "ten_bits.mkv": {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": X265},
    "stream.ts": {},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory, write_video, turn_clockwise):
    root = tmp_path_factory.mktemp("kinds")

    def write(name: str) -> Path:
        kind = dict((BOTH | PYAV_ONLY)[name])
        turn = kind.pop("turn", False)
        codec = kind.get("codec", "libx264")
        if codec not in av.codecs_available:
            pytest.skip(f"PyAV has no {codec} here")
        path = write_video(root / name, kind.pop("frames", 12), noise=True, **kind)
        return turn_clockwise(path) if turn else path

    return write


@contextmanager
def outcomes(patch):
    """Whether TorchCodec decoded, at each call."""
    found = []

    def watched(plain):
        def call(*args):
            try:
                result = plain(*args)
                result = result if isinstance(result, torch.Tensor) else iter(list(result))
            except torchcodec.LeaveToPyAV:
                found.append(False)
                raise
            found.append(True)
            return result

        return call

    patch.setattr(torchcodec, "frames_at", watched(torchcodec.frames_at))
    patch.setattr(torchcodec, "chunks", watched(torchcodec.chunks))
    yield found


@loads
@pytest.mark.parametrize("name", [*BOTH, *PYAV_ONLY])
def test_the_same_frames_bit_for_bit(written, monkeypatch, name):
    path = written(name)
    lots = random.Random(name)
    duration = probe(path).duration
    windows = [{}, {"start": 0.0, "end": duration}, {"start": 0.4 * duration, "end": 0.8 * duration}]
    with outcomes(monkeypatch) as decoded_by_torchcodec:
        for window in windows:
            expected, found = (read_all(path, decoder=d, **window) for d in ("pyav", "torchcodec"))
            assert torch.equal(found.frames, expected.frames)
            assert found.frames.stride() == expected.frames.stride()
            assert found.times.tolist() == expected.times.tolist()
            assert found.info == expected.info
            for _ in range(5):
                times = [lots.uniform(-0.1, 1.1) * duration for _ in range(lots.randint(1, 6))]
                frames = [read_frames(path, times, decoder=d, **window) for d in ("pyav", "torchcodec")]
                assert torch.equal(*frames)
                assert frames[0].stride() == frames[1].stride()
    assert decoded_by_torchcodec == [name in BOTH] * 18


@loads
def test_times_are_chosen_once_even_if_the_file_is_left_to_pyav(written):
    asked = []
    read_frames(written("ten_bits.mp4"), lambda info: asked.append(info) or [0.1], decoder="torchcodec")
    assert len(asked) == 1


@loads
def test_another_frame_than_asked_for_is_not_taken(written, monkeypatch):
    from torchcodec.decoders import VideoDecoder

    plain = VideoDecoder.get_frames_at
    monkeypatch.setattr(VideoDecoder, "get_frames_at", lambda self, places: plain(self, [0 for _ in places]))
    path = written("constant.mp4")
    frames = [read_frames(path, [0.55], decoder=decoder) for decoder in ("pyav", "torchcodec")]
    assert torch.equal(*frames)


@loads
def test_only_what_is_wanted_is_decoded(tmp_path, write_video, monkeypatch):
    path = write_video(
        tmp_path / "long.mp4", 700, fps=25, size=(16, 16), options={"preset": "ultrafast", "g": "25"}
    )
    packets = []
    plain = torchcodec._Packets._read
    monkeypatch.setattr(
        torchcodec._Packets, "_read", lambda self: (packets.append(p) or p for p in plain(self))
    )
    read_frames(path, [0.0, 27.5], decoder="torchcodec")
    assert len(packets) < 90


def test_what_auto_stands_for(monkeypatch):
    monkeypatch.setattr(torchcodec, "why_not", lambda: None)
    assert [pick_decoder(name) for name in ("auto", "torchcodec", "pyav")] == [
        "torchcodec",
        "torchcodec",
        "pyav",
    ]
    monkeypatch.setattr(torchcodec, "why_not", lambda: "no libavutil")
    assert [pick_decoder(name) for name in ("auto", "pyav")] == ["pyav", "pyav"]
    with pytest.raises(
        ValueError, match=r"^decoder torchcodec does not load: no libavutil; install .* or use --dec"
    ):
        pick_decoder("torchcodec")
    with pytest.raises(ValueError, match="decoder must be one of auto, torchcodec, pyav, not 'decord'"):
        pick_decoder("decord")


def test_why_it_does_not_load_is_one_line(monkeypatch):
    def broken(name, *args, **options):
        if name.startswith("torchcodec"):
            raise RuntimeError("Could not load libtorchcodec. Likely causes:\n  1. FFmpeg is missing\n")
        return plain(name, *args, **options)

    plain = __builtins__["__import__"]
    monkeypatch.setitem(__builtins__, "__import__", broken)
    assert torchcodec.why_not.__wrapped__() == "Could not load libtorchcodec. Likely causes"
