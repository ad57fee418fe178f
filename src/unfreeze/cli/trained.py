"""What evaluate and predict share: finding the checkpoint that the user means."""

from __future__ import annotations

from pathlib import Path


def checkpoint_path(name: str) -> Path:
    """The checkpoint file that ``name`` means: itself, or the ``best.pt`` of a run folder.

    Raises:
        ValueError: the folder holds no ``best.pt``.
    """
    path = Path(name)
    if not path.is_dir():
        return path
    if not (path / "best.pt").is_file():
        raise ValueError(f"--checkpoint {path}: the folder holds no best.pt; give a run folder or a .pt file")
    return path / "best.pt"
