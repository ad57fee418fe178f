"""The picture of a range test: it is one, and the suggestion is where it should be."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from unfreeze.report.lr_curve import plot_lr_curve

MARK = np.array([0xD5, 0x5E, 0x00]) / 255
RATES = [10 ** (-6 + 6 * i / 59) for i in range(60)]
LOSSES = [2 - 1 / (1 + np.exp(-0.3 * (i - 30))) for i in range(60)]


def draw(out, **changes):
    values = {
        "rates": RATES,
        "losses": LOSSES,
        "smooth": LOSSES,
        "rate": None,
        "title": "$t$",
        "label": "rate",
    }
    plot_lr_curve(out, **(values | changes))
    return imread(out)[..., :3]


def marked(picture) -> np.ndarray:
    """The columns with the colour of the mark."""
    return np.flatnonzero((np.abs(picture - MARK).max(axis=-1) < 0.01).any(axis=0))


def test_the_suggestion_is_marked_at_its_rate(tmp_path):
    assert not marked(draw(tmp_path / "a.png")).size
    left = marked(draw(tmp_path / "b.png", rate=RATES[15]))
    right = marked(draw(tmp_path / "c.png", rate=RATES[45]))
    width = draw(tmp_path / "a.png").shape[1]
    assert left.min() < width * 0.4 < width * 0.6 < right.min()


def test_a_broken_loss_does_not_flatten_the_rest(tmp_path):
    """With and without the break, the curve before it looks alike."""
    calm = draw(tmp_path / "a.png", rate=RATES[20])
    losses = [*LOSSES[:-2], 1e3, 1e9]
    broken = draw(tmp_path / "b.png", losses=losses, smooth=losses, rate=RATES[20])
    dots = [
        np.flatnonzero((np.abs(p - MARK).max(axis=-1) < 0.01).sum(axis=1) > 8).mean() for p in (calm, broken)
    ]
    assert dots[0] == pytest.approx(dots[1], abs=25)


@pytest.mark.parametrize("count", [1, 2])
def test_few_steps_are_drawn_too(tmp_path, count):
    assert draw(tmp_path / "a.png", rates=RATES[:count], losses=LOSSES[:count], smooth=LOSSES[:count]).size


def test_no_step_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"a\.png: no step was taken"):
        draw(tmp_path / "a.png", rates=[], losses=[], smooth=[])
