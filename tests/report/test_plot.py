"""The picture of a run: it is there, it is a picture, and it shows which block trained when."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from unfreeze.report.plot import plot_run
from unfreeze.strategies import get

TRAINABLE = np.array([0xEE, 0x84, 0x34]) / 255
FROZEN = np.array([0xD3, 0xE0, 0xEA]) / 255


def draw(simulate, folder, strategy, values, **options):
    """The picture as (height, width, 3) in 0 … 1."""
    path = folder / "metrics.jsonl"
    lines = [json.dumps(epoch.record) for epoch in simulate(strategy, values, **options)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    plot_run(path, folder / "run.png")
    return imread(folder / "run.png")[..., :3]


def area(picture, colour):
    return int((np.abs(picture - colour).max(axis=-1) < 0.01).sum())


def test_the_map_shows_which_share_trained(simulate, tmp_path):
    values = [0.1, 0.2, 0.3, 0.4]
    half = draw(simulate, tmp_path, get("fixed")(2, 2, 9), values)
    nothing = draw(simulate, tmp_path, get("head_only")(), values)
    everything = draw(simulate, tmp_path, get("none")(), values)

    # the legend shows both colours once, in all three
    legend = area(nothing, TRAINABLE)
    cells = area(everything, TRAINABLE) - legend
    assert area(half, TRAINABLE) - legend == pytest.approx(cells / 2, rel=0.02)
    assert area(nothing, FROZEN) - legend == pytest.approx(cells, rel=0.02)


def test_the_input_is_at_the_bottom_and_time_runs_to_the_right(simulate, tmp_path):
    picture = draw(simulate, tmp_path, get("fixed")(3, 1, 1), [0.1, 0.2, 0.3, 0.4])

    thawed = np.abs(picture - TRAINABLE).max(axis=-1) < 0.01
    frozen = np.abs(picture - FROZEN).max(axis=-1) < 0.01
    map_top = np.flatnonzero(frozen.sum(axis=1) > picture.shape[1] / 3)
    rows = np.flatnonzero(thawed[map_top[0] :].any(axis=1)) + map_top[0]
    columns = np.flatnonzero(thawed[rows[0] :].any(axis=0))
    assert rows.max() < map_top[0] + (map_top[-1] - map_top[0]) / 8
    assert columns.min() > np.flatnonzero(frozen.any(axis=0)).mean()


@pytest.mark.parametrize(
    ("epochs", "blocks", "tasks"),
    [
        (1, 9, ["label"]),
        (100, 40, ["motion", "object", "third"]),
        (3, 1, ["$\\q$ & {y"]),
        (2, 2, list("abcdefgh")),
        (2, 2, ["动作", "long " * 40]),  # the font has no such glyphs, the picture no such room
    ],
)
def test_runs_of_any_size_can_be_drawn(simulate, tmp_path, epochs, blocks, tasks):
    sizes = {f"blocks.{number}": 10 for number in range(blocks)}
    values = [number / 100 for number in range(epochs)]

    picture = draw(simulate, tmp_path, get("progressive")(), values, sizes=sizes, tasks=tasks)

    height, width, _ = picture.shape
    assert width > 1000
    assert 700 < height < 1600
    assert area(picture, FROZEN) > 10_000


def test_values_that_were_not_finite_are_gaps(simulate, tmp_path):
    picture = draw(simulate, tmp_path, get("head_only")(), [float("nan"), float("nan")])

    assert area(picture, FROZEN) > 10_000


def test_a_run_without_an_epoch_is_an_error(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.touch()

    with pytest.raises(ValueError, match=r"metrics\.jsonl holds no epoch yet"):
        plot_run(path, tmp_path / "run.png")


def test_pyplot_and_its_backends_stay_out_of_it(simulate, tmp_path):
    draw(simulate, tmp_path, get("none")(), [0.5])
    code = (
        "import sys; from pathlib import Path; from unfreeze.report.plot import plot_run;"
        "assert 'matplotlib' not in sys.modules;"
        f"plot_run(Path({str(tmp_path / 'metrics.jsonl')!r}), Path({str(tmp_path / 'again.png')!r}));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "run.png").read_bytes()
