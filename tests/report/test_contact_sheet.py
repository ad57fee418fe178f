"""The contact sheet: a picture with every frame that it should have, where it should be."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from unfreeze.data.transforms import EvaluationTransform
from unfreeze.preprocessing import Preprocessing
from unfreeze.report.contact_sheet import SheetClip, Strip, contact_sheet, pictures

GREEN, VIOLET = (20, 220, 60), (140, 30, 230)


def flat(colour: tuple[int, int, int], frames: int = 4, side: tuple[int, int] = (48, 48)) -> torch.Tensor:
    """(T, 3, H, W) of one colour"""
    return torch.tensor(colour, dtype=torch.uint8)[None, :, None, None].expand(frames, 3, *side)


def clip(name: str = "a.mp4", labels=None, **frames: torch.Tensor) -> SheetClip:
    return SheetClip(name, labels or {"motion": "hop"}, [Strip(*item) for item in frames.items()])


def draw(folder, clips, **options) -> np.ndarray:
    """The picture as (height, width, 3) in 0 … 1."""
    contact_sheet(clips, folder / "sheet.png", **options)
    return imread(folder / "sheet.png")[..., :3]


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture - np.array(colour) / 255).max(axis=-1) < 0.002


def test_every_frame_is_there_in_its_own_colours(tmp_path):
    picture = draw(tmp_path, [clip(evaluation=flat(GREEN, 4), light=flat(VIOLET, 3))])
    assert where(picture, GREEN).sum() == 4 * 120 * 120
    assert where(picture, VIOLET).sum() == 3 * 120 * 120
    rows_before, rows_after = (np.flatnonzero(where(picture, c).any(axis=1)) for c in (GREEN, VIOLET))
    assert rows_before.max() < rows_after.min()


def test_frames_are_in_order_from_left_to_right_and_evenly_picked(tmp_path):
    frames = torch.cat([flat((10 * i, 100, 50), 1) for i in range(22)])
    picture = draw(tmp_path, [clip(evaluation=frames)])
    line = picture[np.flatnonzero(where(picture, (0, 100, 50)).any(axis=1))[60]]
    seen = [i for i in range(22) if where(line, (10 * i, 100, 50)).any()]
    assert seen == [0, 3, 6, 9, 12, 15, 18, 21]
    firsts = [np.flatnonzero(where(line, (10 * i, 100, 50)))[0] for i in seen]
    assert firsts == sorted(firsts)


def test_the_sheet_has_an_end(tmp_path):
    picture = draw(tmp_path, [clip(evaluation=flat(GREEN, 40, (90, 400)))] * 30)
    height, width, _ = picture.shape
    assert width < 2000
    assert height < 1500
    rows = np.flatnonzero(where(picture, GREEN).any(axis=1))
    assert (np.diff(rows) > 1).sum() + 1 == 8


@pytest.mark.parametrize("side", [(8, 8), (48, 48), (224, 224), (112, 199), (199, 112), (3, 500)])
def test_frames_of_any_size_fit(tmp_path, side):
    picture = draw(tmp_path, [clip(evaluation=flat(GREEN, 1, side))])
    found = where(picture, GREEN)
    height, width = found.any(axis=1).sum(), found.any(axis=0).sum()
    assert max(height, width) <= 214
    assert min(height, width) <= 120
    assert height / width == pytest.approx(side[0] / side[1], rel=0.02 if min(side) > 3 else 1)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"motion": None, "object": "star"}),
        ("$\\q$ & {y.mp4", {"$x_": "{"}),
        ("动作.mp4", {"long " * 40: "word " * 40}),
        ("Some Long Folder/" * 30 + "end.mp4", {"motion": "hop"}),
    ],
)
def test_any_name_can_be_drawn_and_none_changes_the_sheet(tmp_path, name, labels):
    plain = draw(tmp_path, [clip(evaluation=flat(GREEN))], title="seen")
    other = draw(tmp_path, [clip(name, labels, evaluation=flat(GREEN))], title="seen")
    assert other.shape == plain.shape
    assert np.array_equal(where(other, GREEN), where(plain, GREEN))
    edge = other[:, -20:]
    assert (edge == 1).all()  # nothing runs out of the picture


def test_a_long_caption_stays_beside_the_frames(tmp_path):
    frames = flat(GREEN)
    long = SheetClip(
        "a.mp4", {}, [Strip("standard, second draw, mirrored and at 1.1 times the speed", frames)]
    )
    assert where(draw(tmp_path, [long]), GREEN).sum() == 4 * 120 * 120


def test_the_normalisation_is_undone():
    shape = Preprocessing(frames=3, resize=9, crop=(9, 9), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    frames = torch.randint(
        0, 256, (3, 3, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(pictures(EvaluationTransform(shape)(frames)[0], shape), frames)
    loud = torch.tensor([-99.0, 99.0]).view(1, 1, 1, 2).expand(3, 3, 1, 2)
    assert pictures(loud, shape)[..., 0].max() == 0
    assert pictures(loud, shape)[..., 1].min() == 255


def test_without_a_clip_there_is_no_sheet(tmp_path):
    with pytest.raises(ValueError, match=r"no clip to show in .*sheet\.png"):
        contact_sheet([], tmp_path / "sheet.png")


def test_pyplot_stays_out_of_it(tmp_path):
    code = (
        "import sys, torch; from pathlib import Path; from unfreeze.report.contact_sheet import *;"
        "assert 'matplotlib' not in sys.modules;"
        "frames = torch.zeros(2, 3, 8, 8, dtype=torch.uint8);"
        f"contact_sheet([SheetClip('a', {{}}, [Strip('b', frames)])], Path({str(tmp_path / 'a.png')!r}));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
