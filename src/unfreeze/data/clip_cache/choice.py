"""Where decoded clips are kept: decided once, before the first epoch, from sizes alone."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unfreeze import disk
from unfreeze.data.clip_cache import ram
from unfreeze.data.clip_cache.expected import MAX_FRAMES, Expected
from unfreeze.data.clip_cache.folder import held
from unfreeze.data.demo.files import cache_root
from unfreeze.memory import available
from unfreeze.wording import in_bytes

_LEAST = 32_000_000  # bytes; a tmpfs with less is no place for clips (and batches pass through it)


@dataclass(frozen=True)
class Room:
    """Bytes that are free.

    Attributes:
        ram: in memory and in the tmpfs; None where there is no tmpfs.
        disk: on the disk of ``folder``, and in what the cache holds there already; None where nothing can be
            written.
        folder: of the cache on disk.
    """

    ram: int | None
    disk: int | None
    folder: Path


@dataclass(frozen=True)
class Choice:
    """Where to keep clips, how much at most, and a line for the log that says so.

    Attributes:
        where: ``ram``, ``disk`` or ``off``.
        folder: of the cache on disk.
        limit: in bytes.
    """

    where: Literal["ram", "disk", "off"]
    folder: Path
    limit: int
    line: str


def choose(
    wanted: Literal["auto", "ram", "disk", "off"],
    expected: Expected,
    room: Room,
    *,
    reads: float,
    gb: float | None = None,
) -> Choice:
    """Where ``wanted`` means.

    ``auto`` is RAM if all clips fit into half of what is free there, else the disk if they fit into half of
    that, else off; and off where nothing is read twice.

    Args:
        reads: how often each clip will be read, on average.
        gb: upper bound in GB (1e9 bytes) in place of half of what is free.

    Raises:
        ValueError: ``ram`` or ``disk`` was asked for and there is no room; one line names the flag.
    """
    free = {"ram": room.ram, "disk": room.disk}
    limits = {
        where: min(round(gb * 1e9), there // 2 if wanted == "auto" else there) if gb else there // 2
        for where, there in free.items()
        if there is not None
    }
    size = f"about {in_bytes(expected.bytes)} of clips"
    if expected.too_long:
        size += f" ({expected.too_long} of {expected.views} have over {MAX_FRAMES} frames and are not kept)"

    def at(where: Literal["ram", "disk"]) -> Choice:
        place = f"in RAM ({ram.TMPFS})" if where == "ram" else f"on disk ({room.folder})"
        line = f"Clip cache: {place}, {size}, at most {in_bytes(limits[where])}"
        if expected.bytes > limits[where]:
            line += "; the rest is decoded in every epoch"
        return Choice(where, room.folder, limits[where], line)

    def off(why: str) -> Choice:
        return Choice("off", room.folder, 0, f"Clip cache: off{why}")

    if wanted == "off":
        return off("")
    if wanted == "ram" or wanted == "disk":
        _check_room(wanted, room, gb)
        return at(wanted)
    if reads < 2:
        # a clip is kept as a whole video, which takes longer to decode than the moment that is wanted of it
        return off(", as no clip is read twice" if reads <= 1 else ", as few clips are read twice")
    if not expected.bytes:
        return off(f", as all clips have over {MAX_FRAMES} frames" if expected.too_long else "")
    if expected.bytes <= limits.get("ram", 0):
        return at("ram")
    if expected.bytes <= limits.get("disk", 0):
        return at("disk")
    bound = f"--clip_cache_gb {gb:g}" if gb else "half of what is free"
    there = ", ".join(
        f"{name} {in_bytes(limits[where])}" if where in limits else f"{name} none"
        for where, name in (("ram", "RAM"), ("disk", "disk"))
    )
    return off(f", as {size} do not fit into {bound} ({there}); --clip_cache disk keeps a part of them")


def measure_room(folder: Path | None = None, tmpfs: Path = ram.TMPFS) -> Room:
    """What is free now; ``folder`` is ``clips`` in the user's cache, unless given.

    What killed runs left in RAM is removed before, or it would count as taken.
    """
    folder = folder or cache_root() / "clips"
    ram.sweep(tmpfs)
    on_disk = disk.free(folder)
    there = None if on_disk is None else on_disk + held(folder)
    return Room(_free_ram(tmpfs), there, folder)


def _check_room(wanted: Literal["ram", "disk"], room: Room, gb: float | None) -> None:
    free, other = (room.ram, "disk") if wanted == "ram" else (room.disk, "ram")
    place = ram.TMPFS if wanted == "ram" else room.folder
    if free is None:
        what = f"there is no tmpfs at {place}" if wanted == "ram" else f"{place} cannot be written to"
        raise ValueError(f"--clip_cache {wanted}: {what}; choose {other} or off")
    needed = max(round(gb * 1e9), 1) if gb else _LEAST
    if free < needed:
        flags = f"--clip_cache {wanted}" + (f" --clip_cache_gb {gb:g}" if gb else "")
        remedy = "choose less, or" if gb else "choose"
        docker = " (a container gets more with --shm-size)" if wanted == "ram" else ""
        raise ValueError(
            f"{flags}: only {in_bytes(free)} are free in {place}{docker}; "
            f"{remedy} --clip_cache {other} or off"
        )


def _free_ram(tmpfs: Path) -> int | None:
    """The least of the memory that is free and of the tmpfs."""
    if not (os.path.ismount(tmpfs) and os.access(tmpfs, os.W_OK)):
        return None
    room, memory = shutil.disk_usage(tmpfs).free, available()
    return room if memory is None else min(room, memory)
