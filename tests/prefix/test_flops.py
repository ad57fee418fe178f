"""The bound against a published table, and against a run counted by hand."""

from __future__ import annotations

import pytest

from unfreeze.history import History
from unfreeze.prefix.flops import flop_bound
from unfreeze.strategies import BlockInfo
from unfreeze.strategies.early_gradual import EarlyGradual
from unfreeze.training.forecast import forecast

# forward GFLOPs of one clip (16 x 112 x 112 and 16 x 224 x 224) and millions of parameters, by block
R3D_18 = (
    [2.83, 22.2, 22.2, 8.43, 11.1, 4.21, 5.55, 2.11, 2.78],
    [0.03, 0.22, 0.22, 0.67, 0.89, 2.69, 3.54, 10.75, 14.16],
)
MVIT_V2_S = (
    [2.12, 9.58, 15.6, 7.57, 11.8, *[6.58] * 10, 9.94, 6.10],
    [0.04, 0.14, 0.43, 0.47, 1.64, *[1.79] * 10, 6.51, 7.10],
)
MODELS = pytest.mark.parametrize("model", [R3D_18, MVIT_V2_S], ids=["r3d_18", "mvit_v2_s"])
EPOCHS = 20


def early_gradual(millions):
    blocks = [BlockInfo(f"b{i}", round(1e6 * count)) for i, count in enumerate(millions)]
    return forecast(EarlyGradual(), blocks, History(), EPOCHS).boundaries


@pytest.mark.parametrize(
    ("model", "refresh", "naive_gain", "cached_gain", "cached_over_naive"),
    [
        (R3D_18, 0.0, 2.7, 13.9, 5.2),
        (MVIT_V2_S, 0.0, 2.1, 4.5, 2.1),
        # The table calls these "a quarter refreshed each epoch". They are three passes through the prefix
        # beside the one that fills it, where a quarter in each of 19 epochs are 4.75: see below.
        (R3D_18, 3 / 19, 2.7, 8.4, 3.1),
        (MVIT_V2_S, 3 / 19, 2.1, 3.8, 1.8),
        (R3D_18, 0.25, 2.7, 6.8, 2.5),
        (MVIT_V2_S, 0.25, 2.1, 3.5, 1.65),
        (R3D_18, 1.0, 2.7, 2.7, 1.0),
        (MVIT_V2_S, 1.0, 2.1, 2.1, 1.0),
    ],
)
def test_whole_runs_of_early_gradual(model, refresh, naive_gain, cached_gain, cached_over_naive):
    flops, millions = model
    full, _ = flop_bound([0] * EPOCHS, flops, 0.0, 1, 0)
    naive, cached = flop_bound(early_gradual(millions), flops, refresh, 1, 0)
    assert full / naive == pytest.approx(naive_gain, rel=0.03)
    assert full / cached == pytest.approx(cached_gain, rel=0.03)
    assert naive / cached == pytest.approx(cached_over_naive, rel=0.03)


@pytest.mark.parametrize(
    ("model", "over_full", "over_naive"), [(R3D_18, 17.3, 6.5), (MVIT_V2_S, 4.4, 2.1)], ids=["r3d", "mvit"]
)
def test_a_steady_epoch(model, over_full, over_naive):
    """The table leaves out gradients towards the input of the first trainable layer, 5% of r3d_18's epoch."""
    flops, millions = model
    boundaries = early_gradual(millions)
    before, after = (
        flop_bound(seen, flops, 0.0, 1, 0) for seen in (boundaries, [*boundaries, boundaries[-1]])
    )
    naive, cached = (b - a for a, b in zip(before, after, strict=True))
    assert 3 * sum(flops) / cached == pytest.approx(over_full, rel=0.05)
    assert naive / cached == pytest.approx(over_naive, rel=0.05)


@MODELS
def test_a_quarter_by_hand(model):
    """Fill once, then 19 times a quarter of the prefix; the suffix as ever."""
    flops, millions = model
    boundaries = early_gradual(millions)
    floor = min(boundaries)
    prefix = sum(flops[:floor])
    suffix = sum(sum(flops[floor:]) + 2 * sum(flops[b:]) for b in boundaries)
    _, cached = flop_bound(boundaries, flops, 0.25, 1, 0)
    assert cached == pytest.approx(prefix * (1 + 19 / 4) + suffix)


def test_rows_scale_and_validation_runs_forward_only():
    flops = [10, 20, 30, 5]  # three blocks and a head
    assert flop_bound([3, 3], flops, 0.0, 2, 0) == (2 * 2 * (65 + 2 * 5), 2 * (60 + 2 * 3 * 5))
    assert flop_bound([3, 3], flops, 0.0, 0, 2) == (2 * 2 * 65, 2 * (60 + 2 * 5))
    assert flop_bound([0, 0], flops, 0.0, 1, 1) == (2 * 4 * 65, 2 * 4 * 65)
    # at refresh 1 validation is still computed once
    assert flop_bound([2, 2], flops, 1.0, 1, 1) == (2 * (65 + 70 + 65), 2 * (65 + 70) + 30 + 2 * 35)
