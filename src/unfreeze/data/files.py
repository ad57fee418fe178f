"""Which files are taken for videos, by their extension."""

from __future__ import annotations

from pathlib import Path

_MP4_LIKE = (".3gp", ".m4v", ".mov", ".mp4")
_MPEG = (".m2ts", ".mpeg", ".mpg", ".mts", ".ts")
_OTHERS = (".avi", ".flv", ".gif", ".mkv", ".ogv", ".webm", ".wmv")
VIDEO_EXTENSIONS = frozenset(_MP4_LIKE + _MPEG + _OTHERS)


def is_video(path: Path) -> bool:
    """Whether the name says video; hidden files (``._clip.mp4`` of macOS) are none."""
    return path.suffix.lower() in VIDEO_EXTENSIONS and not path.name.startswith(".")


def videos_below(folder: Path) -> tuple[list[Path], int]:
    """The videos in and below ``folder``, sorted, and the number of other files; hidden ones do not count."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not _hidden(p.relative_to(folder)))
    videos = [p for p in files if is_video(p)]
    return videos, len(files) - len(videos)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
