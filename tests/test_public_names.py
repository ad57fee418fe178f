"""The public names are there, and importing the package costs next to nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import unfreeze


@pytest.mark.parametrize("name", unfreeze.__all__)
def test_every_public_name_is_there(name):
    assert getattr(unfreeze, name).__name__ == name
    assert name in dir(unfreeze)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Frezer'"):
        _ = unfreeze.Frezer


def test_importing_pulls_in_nothing_heavy():
    heavy = (
        "torchvision",
        "lightning",
        "transformers",
        "matplotlib",
        "torchmetrics",
        "torch._dynamo",
        "jsonargparse",
    )
    code = f"""
import sys, unfreeze
assert "torch" not in sys.modules
unfreeze.Freezer, unfreeze.EarlyGradual, unfreeze.dissect
print([name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
