"""Clips of the size that people have: H.264 files of 320x240, 2 seconds long, and their labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from unfreeze.data.demo.files import write_mp4

WIDTH, HEIGHT, FPS, FRAMES = 320, 240, 25, 50
_STEPS = {"right": (3, 0), "left": (-3, 0), "down": (0, 2), "up": (0, -2)}  # pixels a frame


def write_footage(folder: Path, train: int, val: int) -> Path:
    """A picture that moves under a window, no two alike; the class is the direction.

    Returns:
        The table of clips, ``path,motion,split``.
    """
    folder.mkdir(parents=True)
    rows = []
    for number in range(train + val):
        split, place = ("train", number) if number < train else ("val", number - train)
        motion = list(_STEPS)[place % len(_STEPS)]
        write_mp4(folder / f"{number:04}.mp4", _frames(number, motion), FPS)
        rows.append((f"{number:04}.mp4", motion, split))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "motion", "split"), *rows])
    return folder / "labels.csv"


def _frames(seed: int, motion: str) -> np.ndarray:
    """(FRAMES, HEIGHT, WIDTH, 3) uint8 RGB."""
    dx, dy = _STEPS[motion]
    wide, high = WIDTH + abs(dx) * FRAMES, HEIGHT + abs(dy) * FRAMES
    coarse = np.random.default_rng(seed).integers(0, 256, (high // 8 + 1, wide // 8 + 1, 3), np.uint8)
    picture = coarse.repeat(8, 0).repeat(8, 1)[:high, :wide]
    x, y = wide - WIDTH if dx < 0 else 0, high - HEIGHT if dy < 0 else 0
    windows = ((x + dx * n, y + dy * n) for n in range(FRAMES))
    return np.stack([picture[top : top + HEIGHT, left : left + WIDTH] for left, top in windows])
