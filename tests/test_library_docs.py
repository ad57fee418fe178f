"""The code of the documentation runs as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^(<!-- run -->\n+)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path, *, marked_only: bool) -> list[str]:
    """Python blocks of a page; in the README, only those below a ``<!-- run -->``."""
    found = FENCE.findall(path.read_text(encoding="utf-8"))
    return [code for mark, code in found if mark or not marked_only]


@pytest.mark.parametrize(("page", "marked_only"), [("docs/library.md", False), ("README.md", True)])
def test_the_code_of_a_page_runs(page, marked_only, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, object] = {}
    for code in blocks(ROOT / page, marked_only=marked_only):
        exec(compile(code, page, "exec"), names)


def test_the_page_has_its_code():
    assert len(blocks(ROOT / "docs/library.md", marked_only=False)) == 6


def test_only_marked_blocks_of_the_readme_run(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("```python\n1 / 0\n```\n\n<!-- run -->\n```python\nx = 1\n```\n")
    assert blocks(page, marked_only=True) == ["x = 1\n"]
