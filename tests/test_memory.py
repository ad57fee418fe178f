"""What is free is the least of what the machine and the container say, as far as they say anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from unfreeze import memory


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for /proc and for the files of a control group."""
    group = memory._ControlGroup(tmp_path / "max", tmp_path / "current", tmp_path / "stat", "inactive_file")
    monkeypatch.setattr(memory, "_PROC", tmp_path)
    monkeypatch.setattr(memory, "_GROUPS", (group,))
    return tmp_path


def test_nobody_says(machine: Path) -> None:
    assert memory.available() is None
    assert memory.resident() > 0


def test_the_machine(machine: Path) -> None:
    (machine / "meminfo").write_text("MemTotal:  8000 kB\nMemAvailable:  5000 kB\nHugePages_Total: 0\n")
    assert memory.available() == 5000 * 1024


@pytest.mark.parametrize(
    ("limit", "free"),
    [("4000000", 1_500_000), ("max", 5000 * 1024), ("2000000", 0), ("900000000", 5000 * 1024)],
)
def test_a_container_that_has_less(machine: Path, limit: str, free: int) -> None:
    (machine / "meminfo").write_text("MemAvailable:  5000 kB\n")
    (machine / "max").write_text(f"{limit}\n")
    (machine / "current").write_text("2500000\n")
    assert memory.available() == free


def test_what_only_caches_files_is_free(machine: Path) -> None:
    (machine / "max").write_text("4000000\n")
    (machine / "current").write_text("3500000\n")
    (machine / "stat").write_text("anon 1000000\ninactive_file 2400000\n")
    assert memory.available() == 2_900_000


def test_this_machine_says() -> None:
    free = memory.available()
    assert free is None or free > 0
    assert memory.resident() > 1_000_000
