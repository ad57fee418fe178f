"""Renders a scene: one textured object that moves over a textured, moving background, as RGB frames.

Lengths are in half frame widths (the frame spans -1 … 1, x to the right, y down), times in seconds. Edges are
antialiased. A scene is a pure function of its arguments: the same arguments give the same bytes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unfreeze.data.demo.shapes import ANGLES, Profile

Array = NDArray[np.float32]
Frames = NDArray[np.uint8]

_GRATINGS = 12
_DISTRACTORS = 3
_MARK_DISTANCE, _MARK_RADIUS = (
    0.45,
    0.32,
)  # a dark spot off the centre makes the turning of round shapes visible


@dataclass(frozen=True)
class Pose:
    """Where the object is, frame by frame; every field has shape (T,)."""

    x: Array
    y: Array
    radius: Array
    angle: Array  # radians


def render(profile: Profile, pose: Pose, *, texture: int, seed: int, size: int, fps: float) -> Frames:
    """Frames (T, size, size, 3), uint8 RGB.

    `texture` chooses the background's pattern and colours (the same number, the same background); `seed`
    chooses the rest: the object's colour, distractors, the camera's shake, the scrolling, light and noise.
    """
    rng = np.random.default_rng([seed, 1])
    steps = len(pose.x)
    shake = _shake(rng, steps)
    background, base_colour = _background(texture, rng, shake, size, fps)
    axis: Array = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / size) - 1
    canvas: Array = background
    for _ in range(_DISTRACTORS):
        canvas = _distract(canvas, axis, rng, shake, fps)

    colour = _contrasting(rng, base_colour)
    dx = axis[None, None, :] - (pose.x + shake[:, 0])[:, None, None]
    dy = axis[None, :, None] - (pose.y + shake[:, 1])[:, None, None]
    radius = pose.radius[:, None, None]
    outline = _outline(profile, dx, dy, pose.angle)
    object_alpha = _coverage(radius * outline - np.hypot(dx, dy), size)
    mark_x = dx - (_MARK_DISTANCE * pose.radius * np.cos(pose.angle))[:, None, None]
    mark_y = dy - (_MARK_DISTANCE * pose.radius * np.sin(pose.angle))[:, None, None]
    mark_alpha = _coverage(radius * _MARK_RADIUS - np.hypot(mark_x, mark_y), size)
    ink: Array = colour * (1 - np.float32(0.6) * mark_alpha[..., None])
    canvas = canvas + object_alpha[..., None] * (ink - canvas)

    light = 1 + 0.12 * np.sin(rng.uniform(1, 6) * np.arange(steps) / fps + rng.uniform(0, 2 * np.pi))
    grain = rng.standard_normal((steps, size, size, 1), dtype=np.float32)
    grain *= np.float32(rng.uniform(0.02, 0.06))
    canvas = canvas * light.astype(np.float32)[:, None, None, None] + grain
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)


def _coverage(depth: Array, size: int) -> Array:
    """Share of a pixel that lies inside an outline, from the signed depth of its centre."""
    return np.clip(depth * np.float32(size / 2) + np.float32(0.5), 0, 1)


def _outline(profile: Profile, dx: Array, dy: Array, angle: Array) -> Array:
    turns = (np.arctan2(dy, dx) - angle[:, None, None]) * np.float32(ANGLES / (2 * np.pi))
    return profile[turns.astype(np.int32) % ANGLES]


def _shake(rng: np.random.Generator, steps: int) -> Array:
    """A hand-held camera: a smoothed random walk, (T, 2)."""
    walk = np.cumsum(rng.standard_normal((steps, 2)), axis=0)
    walk -= walk.mean(axis=0)
    return (walk * rng.uniform(0.0, 0.012)).astype(np.float32)


def _background(
    texture: int, rng: np.random.Generator, shake: Array, size: int, fps: float
) -> tuple[Array, NDArray[np.float64]]:
    """A sum of gratings in any direction, between two colours; (T, size, size, 3) and the mean colour.

    A grating cos(a(x, t) + b(y, t)) is cos·cos - sin·sin, so all of them are one matrix product a frame.
    """
    own = np.random.default_rng([texture, 0])
    frequency = own.uniform(1.0, 11.0, _GRATINGS)
    direction = own.uniform(0, np.pi, _GRATINGS)
    phase = own.uniform(0, 2 * np.pi, _GRATINGS)
    amplitude = frequency**-0.6
    gain = own.uniform(1.0, 4.0) / np.sqrt(np.sum(amplitude**2) / 2)
    low, high = own.uniform(0.05, 0.95, (2, 3))

    time = np.arange(len(shake)) / fps
    scroll = rng.uniform(-1, 1, 2) + time[:, None] * rng.uniform(-0.3, 0.3, 2) + shake
    axis = (np.arange(size) + 0.5) * (2 / size) - 1
    along_x = frequency * np.cos(direction)
    along_y = frequency * np.sin(direction)
    ax = along_x * (axis[None, :, None] - scroll[:, None, None, 0])
    by = along_y * (axis[None, :, None] - scroll[:, None, None, 1]) + phase
    rows = np.concatenate([amplitude * np.cos(by), -amplitude * np.sin(by)], axis=2).astype(np.float32)
    columns = np.concatenate([np.cos(ax), np.sin(ax)], axis=2).astype(np.float32)
    mix = (0.5 + 0.5 * np.tanh(np.float32(gain * 0.5) * (rows @ columns.swapaxes(1, 2))))[..., None]
    return low.astype(np.float32) + mix * (high - low).astype(np.float32), (low + high) / 2


def _contrasting(rng: np.random.Generator, base: NDArray[np.float64]) -> Array:
    """A colour that stands out from the background's mean, though not always by much."""
    colours = rng.uniform(0.05, 1, (3, 3))
    return colours[np.argmax(np.abs(colours - base).sum(axis=1))].astype(np.float32)


def _distract(canvas: Array, axis: Array, rng: np.random.Generator, shake: Array, fps: float) -> Array:
    """A plain, smaller disc that drifts on its own."""
    start, speed = rng.uniform(-0.9, 0.9, 2), rng.uniform(-0.5, 0.5, 2)
    radius, colour = rng.uniform(0.07, 0.17), rng.uniform(0, 1, 3).astype(np.float32)
    where = (start + np.arange(len(shake))[:, None] / fps * speed + shake).astype(np.float32)
    distance = np.hypot(
        axis[None, None, :] - where[:, None, None, 0], axis[None, :, None] - where[:, None, None, 1]
    )
    return canvas + _coverage(np.float32(radius) - distance, len(axis))[..., None] * (colour - canvas)
