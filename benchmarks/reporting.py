"""What all benchmarks print and write: a Markdown table, and JSON with the machine it was measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_PACKAGES = ("unfreeze", "torch", "torchvision", "numpy", "av")


def machine() -> dict[str, Any]:
    """The processor, its cores, and the versions that a number depends on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is right-aligned."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def write(name: str, content: dict[str, Any], markdown: str) -> None:
    """Print the Markdown, and write it and the JSON to ``benchmarks/results/``."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine(), **content}, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(markdown + "\n", encoding="utf-8")
    print(markdown)


def footer() -> str:
    """One line about the machine, to stand below a table."""
    about = machine()
    return (
        f"{about['processor']}, {about['cores']} cores, Python {about['python']}, torch {about['torch']}, "
        f"unfreeze {about['unfreeze']}."
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0].split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
