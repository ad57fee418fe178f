"""Room on a disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def free(folder: Path) -> int | None:
    """Bytes that are free on the disk of ``folder``, which is made; None where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    return shutil.disk_usage(folder).free
