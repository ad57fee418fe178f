"""The tour of one's own videos: all commands of docs/your_data.md, on the files that its first one writes."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from unfreeze.cli import main

ROOT = Path(__file__).resolve().parents[2]
TOUR = (ROOT / "docs" / "your_data.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TOUR, re.MULTILINE | re.DOTALL))

# What makes a command quick, and what it may end with other than 0.
QUICK = {"lr": ["--steps", "10"], "export": []}
DONE = {"predict new_clips/": 2}  # one of the files there is broken


def commands(text: str) -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("unfreeze ")]


@pytest.fixture(scope="session")
def sample_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        tool = importlib.import_module("sample_data")
    folder = tmp_path_factory.mktemp("tour") / "sample_data"
    tool.write_everything(folder)
    return folder


@pytest.mark.parametrize("section", [name for name, text in SECTIONS.items() if commands(text)])
def test_every_command_of_the_tour_runs(
    section: str, sample_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")  # for labels.parquet
    monkeypatch.chdir(sample_data)
    for command in commands(SECTIONS[section]):
        _, name, *words = shlex.split(command)
        quick = QUICK.get(name, ["--workers", "0", "--device", "cpu"])
        expected = next((code for start, code in DONE.items() if start in command), 0)
        assert main([name, *words, *quick]) == expected, f"{command}: {capsys.readouterr().err}"


def test_the_tour_visits_every_format() -> None:
    from unfreeze.data import formats

    table = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*`) \|", TOUR, re.MULTILINE))))
    assert set(formats.available()) <= table
