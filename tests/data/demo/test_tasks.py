"""The demo's motion is in no single frame, by construction: its classes differ in order, not in content."""

import numpy as np
import pytest

from unfreeze.data.demo.scenes import Pose
from unfreeze.data.demo.shapes import ANGLES, SHAPES
from unfreeze.data.demo.tasks import (
    COORDINATES,
    MOTIONS,
    OBJECTS,
    PRETRAINING_SHAPES,
    PRETRAINING_TASKS,
    demo_pose,
    pretraining_pose,
    wave,
)


@pytest.mark.parametrize("skew", [0.2, 0.5, 0.8])
def test_a_wave_takes_every_value_equally_often_whatever_its_skew(skew: float) -> None:
    values = np.sort(wave(np.linspace(0, 1, 10_001, dtype=np.float32), skew))
    np.testing.assert_allclose(values, np.linspace(-1, 1, 10_001), atol=1e-3)


def test_a_skewed_wave_backwards_is_its_partner() -> None:
    phase = np.linspace(0, 3, 500, dtype=np.float32)
    np.testing.assert_allclose(wave(-phase, 0.2), wave(phase, 0.8), atol=1e-4)
    assert {MOTIONS["hop"].skew, MOTIONS["plunge"].skew} == {0.2, 0.8}
    assert {MOTIONS["swell"].skew, MOTIONS["pop"].skew} == {0.2, 0.8}


@pytest.fixture(scope="module")
def poses() -> dict[str, list[Pose]]:
    return {m: [demo_pose(m, np.random.default_rng([i, 7]), 30, 15) for i in range(1200)] for m in MOTIONS}


@pytest.mark.parametrize("moment", [0, 17])
@pytest.mark.parametrize("field", COORDINATES)
def test_at_any_moment_all_classes_have_the_same_distribution(
    poses: dict[str, list[Pose]], field: str, moment: int
) -> None:
    def deciles(motion: str) -> np.ndarray:
        values = [getattr(pose, field)[moment] for pose in poses[motion]]
        return np.quantile(
            np.mod(values, 2 * np.pi) if field == "angle" else values, np.linspace(0.1, 0.9, 9)
        )

    every = np.stack([deciles(motion) for motion in MOTIONS])
    spread = np.ptp(every.mean(axis=0))
    assert np.abs(every - every.mean(axis=0)).max() < 0.08 * spread


@pytest.mark.parametrize("motion", MOTIONS)
def test_over_time_only_the_coordinate_of_the_class_moves_much(motion: str) -> None:
    pose = demo_pose(motion, np.random.default_rng(5), 30, 15)
    reach = {"x": 0.9, "y": 0.9, "radius": 0.35, "angle": 2 * np.pi}
    travelled = {name: np.abs(np.diff(getattr(pose, name))).sum() / reach[name] for name in COORDINATES}
    assert max(travelled, key=travelled.__getitem__) == MOTIONS[motion].coordinate


def test_pretraining_shares_no_class_with_the_demo() -> None:
    assert not set(OBJECTS) & set(PRETRAINING_SHAPES)
    assert set(OBJECTS) | set(PRETRAINING_SHAPES) == set(SHAPES)
    assert not set(MOTIONS) & {name for names in PRETRAINING_TASKS.values() for name in names}


def test_pretraining_rates_have_their_signs() -> None:
    rates = {"x": 0, "y": 4, "zoom": 2, "turn": 3}
    pose = pretraining_pose(rates, np.random.default_rng(0), 30, 15)
    assert np.all(np.diff(pose.x) < 0)
    assert np.all(np.diff(pose.y) > 0)
    assert np.ptp(pose.radius) == 0
    assert np.all(np.diff(pose.angle) > 0)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_covers_the_same_area(name: str) -> None:
    profile = SHAPES[name]
    assert profile.shape == (ANGLES,)
    assert profile.min() > 0
    assert np.mean(profile.astype(np.float64) ** 2) == pytest.approx(1, rel=1e-4)


def test_a_triangle_is_a_triangle() -> None:
    radii = SHAPES["triangle"]
    assert radii.max() / radii.min() == pytest.approx(2, rel=1e-3)
