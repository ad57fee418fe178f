"""A picture of what the model sees: clips as rows of frames, before and after augmentation."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unfreeze.preprocessing import Preprocessing

_INK, _FAINT, _RULE = "#2b3440", "#6d7883", "#d9dfe4"
_STYLE: Any = {"text.color": _INK, "text.parse_math": False}  # a file may be called $x$.mp4
_QUIET: Any = {"color": _FAINT, "fontsize": 8.5}
_MOST_CLIPS = 8
_MOST_FRAMES = 8
# pixels
_DPI = 120
_SIDE = 120  # of a frame, the shorter one
_LONGEST = 214  # of a frame, the longer one: 16:9
_GAP, _MARGIN, _CAPTION, _TITLE, _HEADING = 4, 24, 150, 66, 58
_NARROWEST = 4 * _SIDE  # of the frames of a clip, so that titles have room
_CHARACTER = 11  # the width of one, on average, in a bold name


@dataclass(frozen=True)
class Strip:
    """One look at a clip.

    Attributes:
        caption: what was done to it: ``evaluation``, ``standard, mirrored``.
        frames: (T, 3, H, W) uint8; see ``pictures``.
    """

    caption: str
    frames: Tensor


@dataclass(frozen=True)
class SheetClip:
    """One clip of the sheet.

    Attributes:
        name: the file's.
        labels: task -> class name, as text; None where there is none.
        strips: from top to bottom.
    """

    name: str
    labels: Mapping[str, str | None]
    strips: Sequence[Strip]


def pictures(clip: Tensor, preprocessing: Preprocessing) -> Tensor:
    """What the model takes, (C, T, H, W) float, as frames to look at, (T, C, H, W) uint8.

    The normalisation is undone; what is no colour then, as in erased rectangles, becomes black or white.
    """
    mean, std = (torch.tensor(value).view(3, 1, 1, 1) for value in (preprocessing.mean, preprocessing.std))
    colours = (clip.float().cpu() * std + mean).clamp(0, 1)
    return (colours * 255).round().to(torch.uint8).transpose(0, 1)


def contact_sheet(clips: Sequence[SheetClip], out: Path, *, title: str = "What the model sees") -> None:
    """Draw clips as a PNG: one below the other, each with its name, its labels and its strips of frames.

    There is room for 8 clips, the first ones, and for 8 frames of each, evenly spaced; the sheet says what it
    leaves out.

    Raises:
        ValueError: there is no clip to show.
        OSError: the file cannot be written.
    """
    if not clips:
        raise ValueError(f"there is no clip to show in {out}")
    page, texts = _page(clips[:_MOST_CLIPS])
    texts = [
        _Text(_MARGIN + 11, title, {"fontsize": 13, "fontweight": "bold"}),
        _Text(_MARGIN + 34, _extent(clips), _QUIET),
        *texts,
    ]
    _write(page, texts, out)


class _Text(NamedTuple):
    """A text at the left margin; ``y`` is its middle, in pixels from the top."""

    y: float
    text: str
    style: Mapping[str, Any]


def _page(clips: Sequence[SheetClip]) -> tuple[np.ndarray, list[_Text]]:
    """All frames on white, (height, width, 3) uint8, and the texts that go with them."""
    strips = [[(strip.caption, _row(strip.frames)) for strip in clip.strips] for clip in clips]
    frames = max([_NARROWEST, *(row.shape[1] for of_clip in strips for _, row in of_clip)])
    left, width = _MARGIN + _CAPTION, _MARGIN + _CAPTION + frames + _MARGIN
    page = [_blank(_TITLE, width)]
    texts: list[_Text] = []
    y = _TITLE
    for clip, of_clip in zip(clips, strips, strict=True):
        heading = _blank(_HEADING, width)
        heading[8, _MARGIN:-_MARGIN] = tuple(bytes.fromhex(_RULE[1:]))
        page.append(heading)
        texts += _heading(clip, y, room=(width - 2 * _MARGIN) // _CHARACTER)
        y += _HEADING
        for caption, row in of_clip:
            line = _blank(len(row) + _GAP, width)
            line[: len(row), left : left + row.shape[1]] = row
            page.append(line)
            texts.append(_Text(y + len(row) / 2, textwrap.fill(caption, _CAPTION // 8), _QUIET))
            y += len(line)
    page.append(_blank(_MARGIN, width))
    return np.concatenate(page), texts


def _heading(clip: SheetClip, y: int, room: int) -> list[_Text]:
    labels = "   ".join(f"{task}: {'–' if label is None else label}" for task, label in clip.labels.items())
    name = clip.name if len(clip.name) <= room else f"…{clip.name[1 - room :]}"  # names differ in their ends
    return [
        _Text(y + 24, name, {"fontsize": 9.5, "fontweight": "bold"}),
        _Text(y + 43, labels if len(labels) <= room else f"{labels[: room - 1]}…", {"fontsize": 8.5}),
    ]


def _row(frames: Tensor) -> np.ndarray:
    """Frames side by side: (height, width, 3) uint8."""
    picked = frames[torch.linspace(0, len(frames) - 1, min(len(frames), _MOST_FRAMES)).round().long()]
    cells = [frame.permute(1, 2, 0).numpy() for frame in _fitted(picked)]
    gap = _blank(cells[0].shape[0], _GAP)
    return np.concatenate([part for cell in cells for part in (cell, gap)][:-1], axis=1)


def _fitted(frames: Tensor) -> Tensor:
    """Frames of one size, whatever the model's; enlarged ones show their pixels as they are."""
    height, width = frames.shape[-2:]
    factor = min(_SIDE / min(height, width), _LONGEST / max(height, width))
    size = [max(round(height * factor), 1), max(round(width * factor), 1)]
    if factor >= 1:
        return F.interpolate(frames, size, mode="nearest-exact")
    return F.interpolate(frames, size, mode="bilinear", antialias=True)


def _extent(clips: Sequence[SheetClip]) -> str:
    """What there is on the sheet, and what is not."""
    frames = max(len(strip.frames) for clip in clips for strip in clip.strips)
    of_clips = f"{_MOST_CLIPS} of {len(clips)} clips" if len(clips) > _MOST_CLIPS else ""
    of_frames = f"{_MOST_FRAMES} of {frames} frames of each clip" if frames > _MOST_FRAMES else ""
    return ", ".join(filter(None, (of_clips, of_frames)))


def _write(page: np.ndarray, texts: Sequence[_Text], out: Path) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # the figure never meets pyplot, so neither its backend nor its list of figures changes
    height, width, _ = page.shape
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # a script that the font lacks shows as boxes; the frames are as good as ever
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        figure.figimage(page, origin="upper")
        for y, text, style in texts:
            figure.text(_MARGIN / width, 1 - y / height, text, va="center", **style)
        figure.savefig(out, format="png", dpi=_DPI)


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)
