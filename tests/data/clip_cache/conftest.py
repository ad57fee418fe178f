"""Decoded videos that need no decoding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from unfreeze.data import VideoInfo
from unfreeze.data.decode import DecodedVideo


@pytest.fixture(scope="session")
def video_of() -> Callable[..., DecodedVideo]:
    """``video_of(seed)``: noise, laid out in memory as decoders do it, or plane by plane."""

    def make(
        seed: int = 0, *, frames: int = 5, size: tuple[int, int] = (6, 8), by_pixel: bool = True
    ) -> DecodedVideo:
        random = np.random.default_rng(seed)
        height, width = size
        pixels = torch.from_numpy(random.integers(0, 256, (frames, height, width, 3), np.uint8))
        clip = pixels.permute(0, 3, 1, 2)
        times = np.cumsum(random.random(frames))
        info = VideoInfo(frames, 1 / 3, width, height, float(times[-1]) + 0.1)
        return DecodedVideo(clip if by_pixel else clip.contiguous(), times, info)

    return make


@pytest.fixture(scope="session")
def same() -> Callable[[DecodedVideo, DecodedVideo], bool]:
    """Whether two videos agree in every bit, and in how these lie in memory."""

    def compare(a: DecodedVideo, b: DecodedVideo) -> bool:
        return (
            torch.equal(a.frames, b.frames)
            and a.frames.stride() == b.frames.stride()
            and a.times.tobytes() == b.times.tobytes()
            and a.info == b.info
        )

    return compare
