"""What there is to learn: the demo's classes, and the *other* classes that the backbones were pretrained on.

The demo's `motion` cannot be read from a frame. An object has four coordinates: x, y, radius and angle. Each
one follows a wave of its own phase, and a wave has the same values, equally often, whatever its skew. The
phases are drawn uniformly and independently; a class only says which of them advances, and how skewed its
wave is. So at every single moment the four coordinates are distributed alike in all classes. `hop` played
backwards is `plunge`, and `swell` played backwards is `pop`. Mirrored clips keep their class.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unfreeze.data.demo.scenes import Array, Pose

COORDINATES = ("x", "y", "radius", "angle")


@dataclass(frozen=True)
class Motion:
    """Which coordinate moves, and the share of each period that it spends rising."""

    coordinate: str
    skew: float


MOTIONS: Mapping[str, Motion] = {
    "hop": Motion("y", 0.8),  # y points down: quick up, slow down
    "plunge": Motion("y", 0.2),
    "swell": Motion("radius", 0.8),  # grows slowly, shrinks quickly
    "pop": Motion("radius", 0.2),
    "sway": Motion("x", 0.5),
    "spin": Motion("angle", 0.5),
}
OBJECTS = ("triangle", "square", "star", "cross", "heart", "arrow")


def wave(phase: Array, skew: float) -> Array:
    """A triangle wave of period 1 between -1 and 1, rising for the share `skew` of each period.

    Straight up and straight down: a uniform phase gives a uniform value, whatever the skew.
    """
    phase = phase % 1
    return np.where(phase < skew, phase / skew, (1 - phase) / (1 - skew)).astype(np.float32) * 2 - 1


def demo_pose(motion: str, rng: np.random.Generator, steps: int, fps: float) -> Pose:
    """How an object of this class moves, for `steps` frames."""
    chosen = MOTIONS[motion]
    time = np.arange(steps, dtype=np.float32) / fps
    phases = {name: rng.uniform() + rng.uniform(-0.1, 0.1) * time for name in COORDINATES}
    skews = dict.fromkeys(COORDINATES, 0.5)
    cycles_per_second = rng.uniform(0.5, 0.8)
    direction = rng.choice([-1, 1]) if chosen.skew == 0.5 else 1
    phases[chosen.coordinate] = rng.uniform() + direction * cycles_per_second * time
    skews[chosen.coordinate] = chosen.skew
    values = {name: wave(phases[name], skews[name]) for name in COORDINATES if name != "angle"}
    centre, reach, scale = rng.uniform(-0.2, 0.2, 2), rng.uniform(0.25, 0.45), rng.uniform(0.42, 0.54)
    return Pose(
        x=(centre[0] + reach * values["x"]).astype(np.float32),
        y=(centre[1] + reach * values["y"]).astype(np.float32),
        radius=(scale * 1.3 ** values["radius"]).astype(np.float32),
        angle=(2 * np.pi * phases["angle"]).astype(np.float32),
    )


PRETRAINING_SHAPES = (
    "disc", "ellipse", "bar", "pentagon", "trefoil", "flower", "gear", "kite", "dome", "wedge",
)  # fmt: skip
_FIVE_RATES = (-1.0, -0.4, 0.0, 0.4, 1.0)
PRETRAINING_TASKS: Mapping[str, tuple[str, ...]] = {
    "shape": PRETRAINING_SHAPES,
    "x": ("left fast", "left", "x still", "right", "right fast"),
    "y": ("up fast", "up", "y still", "down", "down fast"),
    "zoom": ("shrinks fast", "shrinks", "size still", "grows", "grows fast"),
    "turn": ("counter-clockwise fast", "counter-clockwise", "angle still", "clockwise", "clockwise fast"),
}


def pretraining_pose(rates: Mapping[str, int], rng: np.random.Generator, steps: int, fps: float) -> Pose:
    """Steady motion; `rates` holds the class of x, y, zoom and turn (0 … 4, see `PRETRAINING_TASKS`)."""
    time = (np.arange(steps, dtype=np.float32) - (steps - 1) / 2) / fps
    rate = {name: _FIVE_RATES[rates[name]] * rng.uniform(0.8, 1.2) for name in ("x", "y", "zoom", "turn")}
    middle = rng.uniform(-0.5, 0.5, 2)
    return Pose(
        x=(middle[0] + 0.7 * rate["x"] * time).astype(np.float32),
        y=(middle[1] + 0.7 * rate["y"] * time).astype(np.float32),
        radius=(rng.uniform(0.22, 0.4) * 1.6 ** (rate["zoom"] * time)).astype(np.float32),
        angle=(rng.uniform(0, 2 * np.pi) + 4.0 * rate["turn"] * time).astype(np.float32),
    )
