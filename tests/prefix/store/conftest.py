"""Rows whose bits tell which sample, version and row they are of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unfreeze.prefix.store import ActivationStore, Spec

SPEC = Spec(((3, 2), (5,)), (torch.bfloat16, torch.float32))
CPU = torch.device("cpu")


def bits(leaves: Sequence[Tensor]) -> list[tuple[torch.Size, torch.dtype, bytes]]:
    """All there is to compare: noise has NaNs, which equal nothing."""
    return [
        (leaf.shape, leaf.dtype, leaf.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        for leaf in leaves
    ]


def rows_of(index: int, version: int, rows: int, spec: Spec = SPEC) -> tuple[Tensor, ...]:
    random = np.random.default_rng((index, version))
    leaves = []
    for shape, dtype, size in zip(spec.shapes, spec.dtypes, spec.leaf_bytes, strict=True):
        noise = torch.from_numpy(random.integers(0, 2 if dtype == torch.bool else 256, rows * size, np.uint8))
        leaves.append(noise.view(dtype).view(rows, *shape))
    return tuple(leaves)


@pytest.fixture
def open_store(tmp_path: Path) -> Callable[..., ActivationStore]:
    """``open_store(rows, memory=…)``: of ``SPEC``, in the test's own folder, unless told otherwise."""

    def open_it(rows: Sequence[int] = (1,) * 8, spec: Spec = SPEC, **options) -> ActivationStore:
        defaults = {"memory": None, "folder": tmp_path / "cache", "limit": 10**9, "key": "k1"}
        return ActivationStore(rows, spec, **defaults | options)

    return open_it


@pytest.fixture(scope="session")
def fill() -> Callable[..., None]:
    """``fill(store, keys, rows)``: put what belongs there."""

    def put(store: ActivationStore, keys, rows: Sequence[int] = (1,) * 8, spec: Spec = SPEC) -> None:
        for index, version in keys:
            store.put(index, version, rows_of(index, version, rows[index], spec))

    return put


@pytest.fixture(scope="session")
def check() -> Callable[..., None]:
    """``check(store, keys, rows)``: all of them are here, and as they were put."""

    def compare(store: ActivationStore, keys, rows: Sequence[int] = (1,) * 8, spec: Spec = SPEC) -> None:
        assert [key for key in keys if not store.has(*key)] == []
        if not keys:
            return
        expected = [rows_of(index, version, rows[index], spec) for index, version in keys]
        wanted = [torch.cat(leaves) for leaves in zip(*expected, strict=True)]
        assert bits(store.get(keys)) == bits(wanted)

    return compare
