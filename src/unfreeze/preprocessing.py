"""What a model expects of a clip. Plain data: data loading, models and checkpoints share it without importing
torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

Interpolation = Literal["bilinear", "bicubic", "nearest"]
Short = Literal["repeat", "wrap"]


@dataclass(frozen=True)
class Preprocessing:
    """From decoded frames to the model's input (C, T, H, W).

    Attributes:
        frames: T, the number of frames of a clip.
        resize: the shorter side in pixels (the ratio is kept), or (height, width) exactly.
        crop: (height, width) in pixels of the crop after resizing: H and W.
        mean: per channel (RGB), subtracted from values in [0, 1].
        std: per channel, divided by afterwards.
        fps: frames per second at which a clip is taken; without it and ``stride`` the clip is spread over the
            whole video.
        interpolation: how frames are resized.
        stride: in place of ``fps``: a clip is every so many-th frame of the file.
        short: what fills a clip longer than its video: the last frame again, or the video from its start.

    Raises:
        ValueError: a value that no clip could have.
    """

    frames: int
    resize: int | tuple[int, int]
    crop: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fps: float | None = None
    interpolation: Interpolation = "bilinear"
    stride: int | None = None
    short: Short = "repeat"

    def __post_init__(self) -> None:
        for name in ("resize", "crop", "mean", "std"):
            value = getattr(self, name)
            if isinstance(value, Sequence):  # lists, as JSON gives them
                object.__setattr__(self, name, tuple(value))
        if not _is_count(self.frames):
            raise ValueError(f"frames must be a whole number of at least 1, not {self.frames!r}")
        sides = (self.resize,) if isinstance(self.resize, int) else self.resize
        if len(sides) > 2 or not sides or not all(map(_is_count, sides)):
            raise ValueError(f"resize must be a side or (height, width) in pixels, not {self.resize!r}")
        if not isinstance(self.crop, tuple) or len(self.crop) != 2 or not all(map(_is_count, self.crop)):
            raise ValueError(f"crop must be (height, width) in pixels, not {self.crop!r}")
        if any(crop > side for crop, side in zip(self.crop, (*sides, *sides)[:2], strict=True)):
            raise ValueError(f"crop {self.crop} does not fit into frames resized to {self.resize}")
        if len(self.mean) != 3 or not all(map(_is_real, self.mean)):
            raise ValueError(f"mean must be three numbers (RGB), not {self.mean!r}")
        if len(self.std) != 3 or not all(_is_real(value) and value > 0 for value in self.std):
            raise ValueError(f"std must be three numbers above 0 (RGB), not {self.std!r}")
        if self.fps is not None and not (_is_real(self.fps) and self.fps > 0):
            raise ValueError(f"fps must be above 0, or None, not {self.fps!r}")
        if self.stride is not None and not _is_count(self.stride):
            raise ValueError(f"stride must be a whole number of at least 1, or None, not {self.stride!r}")
        if self.fps is not None and self.stride is not None:
            raise ValueError(
                f"fps {self.fps:g} and stride {self.stride} contradict each other; give one of them"
            )
        if self.short not in get_args(Short):
            raise ValueError(f"short must be one of {', '.join(get_args(Short))}, not {self.short!r}")
        if self.interpolation not in get_args(Interpolation):
            known = ", ".join(get_args(Interpolation))
            raise ValueError(f"interpolation must be one of {known}, not {self.interpolation!r}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``from_dict`` is its inverse."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preprocessing:
        """What ``to_dict`` gave, also before there were ``stride`` and ``short``."""
        return cls(**data)

    def with_clip(
        self,
        frames: int | None = None,
        fps: float | None = None,
        stride: int | None = None,
        short: Short | None = None,
    ) -> Preprocessing:
        """The same pictures, with another choice of frames; None leaves it as it is.

        ``fps`` and ``stride`` replace each other.

        Raises:
            ValueError: as the constructor, or for both ``fps`` and ``stride``.
        """
        if fps is None and stride is None:
            fps, stride = self.fps, self.stride
        return replace(
            self,
            frames=self.frames if frames is None else frames,
            fps=fps,
            stride=stride,
            short=self.short if short is None else short,
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
