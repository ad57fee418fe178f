"""Freezing as the Freezer does it, comparison to the last bit, and the slow reference."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_flatten

from unfreeze.anatomy import dissect, unwrap
from unfreeze.frozen_mode import hold, release


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def reference():
    """The module ``reference.py`` beside this file."""
    spec = importlib.util.spec_from_file_location("prefix_reference", Path(__file__).parent / "reference.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def freeze():
    """Freeze the first blocks of a model, wrapped or not, and let the others train; returns its anatomy."""

    def run(model, boundary, anatomy=None):
        inner = unwrap(model)
        anatomy = anatomy or dissect(inner)
        for at, part in enumerate(anatomy.parts):
            for name in part.parameters:
                inner.get_parameter(name).requires_grad_(at >= boundary)
            (release if at >= boundary else hold)(inner, part)
        return anatomy

    return run


@pytest.fixture(scope="session")
def same():
    """Whether two structures of tensors are equal to the last bit."""

    def equal(one, other):
        (a, spec_a), (b, spec_b) = tree_flatten(one), tree_flatten(other)
        return spec_a == spec_b and all(
            x.dtype == y.dtype and torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
            for x, y in zip(a, b, strict=True)
        )

    return equal
