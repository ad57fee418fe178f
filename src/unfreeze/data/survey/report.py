"""What is known of each file: plain data, which a pipe, a JSON file and a test can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Mode = Literal["full", "quick"]
Trouble = Literal["", "missing", "empty", "sound_only", "truncated", "unreadable", "crashed", "hung"]


@dataclass(frozen=True)
class FileReport:
    """What one file is like. Numbers that could not be found out are 0, texts are empty.

    Attributes:
        path: as the manifest has it.
        trouble: what kind of bad file it is, or nothing.
        error: in one line that names the file; nothing where it is good.
        frames: those shown, from the packets.
        seconds: from the start of the first frame to the end of the last.
        fps: frames per second on average.
        width, height: of a stored frame in pixels, before any rotation.
        codec: FFmpeg's name of it.
        depth: bits per colour value.
        variable_rate: whether the times between frames differ by more than rounding.
        digest: of the file's bytes, BLAKE2b, as hexadecimal text.
        size: in bytes.
        mtime_ns: time of the last change, as ``os.stat`` has it.
        decoded_seconds: how much of it was decoded; 0 in a quick check, less than ``seconds`` in a long file.
        note: what was not looked at, in one line.
    """

    path: Path
    trouble: Trouble = ""
    error: str = ""
    frames: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    depth: int = 0
    variable_rate: bool = False
    digest: str = ""
    size: int = 0
    mtime_ns: int = 0
    decoded_seconds: float = 0.0
    note: str = ""

    @property
    def ok(self) -> bool:
        return not self.trouble

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``from_dict`` is its inverse."""
        return {**asdict(self), "path": str(self.path), "ok": self.ok}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FileReport:
        fields = {name: value for name, value in data.items() if name != "ok"}
        return cls(**(fields | {"path": Path(data["path"])}))


@dataclass(frozen=True)
class Survey:
    """All files of some samples.

    Attributes:
        reports: file -> what it is like, in the order in which the samples name them.
        mode: ``full`` or ``quick``.
        fresh: how many of them were looked at now; what is known of the others was kept from before.
        seconds: how long it took.
    """

    reports: Mapping[Path, FileReport]
    mode: Mode
    fresh: int = 0
    seconds: float = 0.0

    @property
    def bad(self) -> tuple[FileReport, ...]:
        return tuple(report for report in self.reports.values() if not report.ok)
