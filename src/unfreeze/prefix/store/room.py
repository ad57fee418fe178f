"""Where activations are kept: decided before anything is encoded, from sizes alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from unfreeze import disk
from unfreeze.memory import available
from unfreeze.prefix.store.folder import held
from unfreeze.wording import in_bytes

_CPU = torch.device("cpu")
_LEAST = 32_000_000  # bytes; where less is free, nothing but a small cache is kept


@dataclass(frozen=True)
class Room:
    """Bytes that are free.

    Attributes:
        gpu: on ``device``, if it is a GPU; None otherwise.
        ram: of the CPU; None where the system does not say.
        disk: on the disk of ``folder``, and in what caches hold there already; None where nothing can be
            written.
        folder: of the caches on disk.
        device: that the model is on.
    """

    gpu: int | None
    ram: int | None
    disk: int | None
    folder: Path
    device: torch.device = _CPU


@dataclass(frozen=True)
class Tier:
    """Where to keep activations, and how much at most.

    Attributes:
        memory: device of the front tier, or None.
        folder: of the back tier, or None; nothing is kept where both are None.
        limit: of each tier, in bytes.
        memory_limit: of the front tier, where both are used; otherwise ``limit`` holds.
        line: that says so, without ``Prefix cache:``: ``in RAM, about 320 MB``, or ``off, as …``.
    """

    memory: torch.device | None
    folder: Path | None
    limit: int
    line: str
    memory_limit: int | None = None


def choose(wanted: Literal["auto", "ram", "disk"], nbytes: int, room: Room, gb: float | None = None) -> Tier:
    """Where ``wanted`` means.

    ``auto`` is the memory of the GPU if everything fits into half of what is free there, else RAM if it fits
    into half of that, and in either case the disk behind it if it fits into half of that, so that later runs
    start warm; the disk alone if memory is too small; and nothing where it does not fit anywhere. ``ram`` is
    RAM alone and ``disk`` the disk alone, which keep what fits.

    Args:
        nbytes: of all rows, one version of each sample.
        gb: upper bound of each tier in GB (1e9 bytes), in place of half of what is free.

    Raises:
        ValueError: ``ram`` or ``disk`` was asked for and there is no room; one line names the flag.
    """
    size = f"about {in_bytes(nbytes)}"
    if wanted == "auto":
        return _auto(nbytes, room, gb, size)
    limit = _limit_of(wanted, nbytes, room, gb)
    place = "in RAM" if wanted == "ram" else f"on disk ({room.folder})"
    rest = f", at most {in_bytes(limit)}; the rest is encoded in every epoch" if nbytes > limit else ""
    line = f"{place}, {size}{rest}"
    return Tier(_CPU, None, limit, line) if wanted == "ram" else Tier(None, room.folder, limit, line)


def _auto(nbytes: int, room: Room, gb: float | None, size: str) -> Tier:
    limits = {
        name: free // 2 if gb is None else min(round(gb * 1e9), free // 2)
        for name, free in (("GPU", room.gpu), ("RAM", room.ram), ("disk", room.disk))
        if free is not None
    }
    on_disk = nbytes <= limits.get("disk", -1)
    for name, memory in (("GPU", room.device), ("RAM", _CPU)):
        if nbytes <= limits.get(name, -1):
            place = "in GPU memory" if name == "GPU" else "in RAM"
            if on_disk:
                # of the disk, older versions may have all that is allowed
                line = f"{place} and on disk ({room.folder}), {size}"
                return Tier(memory, room.folder, limits["disk"], line, limits[name])
            why = f"{room.folder} cannot be written to" if room.disk is None else "the disk is too small"
            return Tier(memory, None, limits[name], f"{place}, {size}; not kept for later runs, as {why}")
    if on_disk:
        return Tier(None, room.folder, limits["disk"], f"on disk ({room.folder}), {size}")
    bound = "half of what is free" if gb is None else f"--cache_gb {gb:g}"
    there = ", ".join(f"{name} {in_bytes(limit)}" for name, limit in limits.items()) or "nothing"
    parts = [name.lower() for name in ("RAM", "disk") if name in limits]
    remedy = f"; --cache {' or '.join(parts)} keeps a part" if parts else ""
    return Tier(None, None, 0, f"off, as {size} do not fit into {bound} ({there}){remedy}")


def _limit_of(wanted: Literal["ram", "disk"], nbytes: int, room: Room, gb: float | None) -> int:
    """The limit of a tier that was asked for."""
    free, other = (room.ram, "disk") if wanted == "ram" else (room.disk, "ram")
    if free is None:
        if wanted == "disk":
            raise ValueError(
                f"--cache disk: {room.folder} cannot be written to; give another --cache_dir, or choose "
                "--cache ram or off"
            )
        if gb is None:
            raise ValueError(
                "--cache ram: this system does not say how much memory is free; give --cache_gb, or choose "
                "--cache disk or off"
            )
        return round(gb * 1e9)
    needed = min(nbytes, _LEAST) if gb is None else round(gb * 1e9)
    if free < needed:
        flags = f"--cache {wanted}" + (f" --cache_gb {gb:g}" if gb is not None else "")
        place = "in memory" if wanted == "ram" else f"in {room.folder}"
        remedies = ["less"] * (gb is not None) + ["another --cache_dir"] * (wanted == "disk")
        remedy = f"{', '.join(remedies)}{', or ' * bool(remedies)}--cache {other} or off"
        raise ValueError(f"{flags}: only {in_bytes(free)} are free {place}; choose {remedy}")
    return needed if gb is not None else free // 2


def measure_room(folder: Path, device: torch.device | str = _CPU) -> Room:
    """What is free now; on a GPU, what the model and a step of training need should be taken already.

    The folder is made, if that is possible.
    """
    device = torch.device(device)
    gpu = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    on_disk = disk.free(folder)
    there = None if on_disk is None else on_disk + held(folder)
    return Room(gpu, available(), there, folder, device)
