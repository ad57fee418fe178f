"""Shapes as radial profiles: how far the outline lies from the centre, at each angle.

A profile is a float32 table of `ANGLES` radii at angles 0 … 2π, scaled so that every shape covers the same
area (π, that of the unit disc): size never tells which shape it is.
"""

import numpy as np
from numpy.typing import NDArray

ANGLES = 1024
Profile = NDArray[np.float32]

_theta = np.arange(ANGLES) * (2 * np.pi / ANGLES)


def _unit_area(radius: NDArray[np.float64]) -> Profile:
    return (radius / np.sqrt(np.mean(radius**2))).astype(np.float32)


def _regular(corners: int) -> Profile:
    sector = 2 * np.pi / corners
    return _unit_area(1 / np.cos(_theta % sector - sector / 2))


def _polygon(*corners: tuple[float, float]) -> Profile:
    """Outline of a polygon that its origin sees whole: along each ray, the nearest edge it crosses."""
    start = np.array(corners)
    edge = np.roll(start, -1, axis=0) - start
    ray = np.stack([np.cos(_theta), np.sin(_theta)], axis=1)
    cross = ray[:, None, 0] * edge[None, :, 1] - ray[:, None, 1] * edge[None, :, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (start[:, 0] * edge[:, 1] - start[:, 1] * edge[:, 0]) / cross
        along = (start[None, :, 0] * ray[:, None, 1] - start[None, :, 1] * ray[:, None, 0]) / cross
    crossed = (distance > 0) & (along >= -1e-9) & (along <= 1 + 1e-9)
    return _unit_area(np.where(crossed, distance, np.inf).min(axis=1))


def _star(points: int, inner: float) -> Profile:
    corners = [
        (radius * np.cos(angle), radius * np.sin(angle))
        for i in range(points)
        for radius, angle in ((1.0, 2 * np.pi * i / points), (inner, 2 * np.pi * (i + 0.5) / points))
    ]
    return _polygon(*corners)


def _cross(arm: float) -> Profile:
    quarter = [(1.0, -arm), (1.0, arm), (arm, arm)]
    turns = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    return _polygon(*[(x * c - y * s, x * s + y * c) for c, s in turns for x, y in quarter])


def _ellipse(aspect: float) -> Profile:
    return _unit_area(1 / np.hypot(np.cos(_theta), aspect * np.sin(_theta)))


def _petals(count: int, depth: float) -> Profile:
    return _unit_area(1 + depth * np.cos(count * _theta))


def _heart() -> Profile:
    """Tip at angle 0, notch at π."""
    turn = np.abs((_theta + np.pi) % (2 * np.pi) - np.pi)  # 0 at the tip … π at the notch
    turns = [0, 0.35, 0.9, 1.6, 2.35, 2.75, np.pi]
    radii = [1.35, 1.05, 0.92, 0.98, 1.05, 0.9, 0.35]
    return _unit_area(np.interp(turn, turns, radii))


def _wedge(mouth: float) -> Profile:
    away = np.minimum(_theta, 2 * np.pi - _theta)
    return _unit_area(np.where(away < mouth, 0.12, 1.0))


SHAPES: dict[str, Profile] = {
    name: make()
    for name, make in {
        "triangle": lambda: _regular(3),
        "square": lambda: _regular(4),
        "star": lambda: _star(5, 0.42),
        "cross": lambda: _cross(0.34),
        "heart": _heart,
        "arrow": lambda: _polygon(
            (1.2, 0), (0.1, 0.9), (0.1, 0.35), (-1, 0.35), (-1, -0.35), (0.1, -0.35), (0.1, -0.9)
        ),
        "disc": lambda: _ellipse(1.0),
        "ellipse": lambda: _ellipse(1.9),
        "bar": lambda: _polygon((1, 0.3), (-1, 0.3), (-1, -0.3), (1, -0.3)),
        "pentagon": lambda: _regular(5),
        "trefoil": lambda: _petals(3, 0.4),
        "flower": lambda: _petals(5, 0.3),
        "gear": lambda: _petals(8, 0.22),
        "kite": lambda: _polygon((1.5, 0), (-0.1, 0.8), (-0.7, 0), (-0.1, -0.8)),
        "dome": lambda: _polygon(*[(np.sin(a) - 0.42, -np.cos(a)) for a in np.linspace(0, np.pi, 24)]),
        "wedge": lambda: _wedge(0.6),
    }.items()
}
