"""Real video files, tiny: frame i is uniformly grey at ``level(i)``, so a decoded one tells its number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

WriteVideo = Callable[..., Path]


def level(i: int) -> int:
    return 20 + 8 * (i % 25)


@pytest.fixture(scope="session")
def write_video() -> WriteVideo:
    """``write_video(path, frames=6, fps=10, size=(32, 24), ticks=None, …)``: ``size`` is (width, height),
    ``ticks`` are the times of the frames in milliseconds, ``noise`` makes frames that take up space.
    """

    def write(
        path: Path,
        frames: int = 6,
        *,
        fps: int = 10,
        size: tuple[int, int] = (32, 24),
        ticks: Sequence[int] | None = None,
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        noise: bool = False,
        picture: np.ndarray | None = None,
        container: dict[str, str] | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        width, height = size
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(0)
        with av.open(path, "w", options=container or {}) as output:
            stream = output.add_stream(codec, rate=fps, options=options or {})
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
            stream.codec_context.thread_count = 1
            if ticks is not None:
                stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
            for i in range(frames):
                image = np.full((height, width, 3), level(i), np.uint8)
                if noise:
                    image = random.integers(0, 256, image.shape, np.uint8)
                if picture is not None:
                    image = picture
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                if ticks is not None:
                    frame.pts, frame.time_base = ticks[i], Fraction(1, 1000)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def which() -> Callable[..., list[int]]:
    """The number (below 25) of every frame of a (T, C, H, W) clip that ``write_video`` wrote."""

    def of(clip) -> list[int]:
        return [round((value - 20) / 8) for value in clip.float().mean((1, 2, 3)).tolist()]

    return of
