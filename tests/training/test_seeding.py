import random

import numpy as np
import torch

from unfreeze.training.seeding import deterministic, epoch_seed, seed_epoch


def draws() -> list[float]:
    return [torch.rand(()).item(), np.random.rand(), random.random()]


def test_an_epoch_starts_from_its_seed_whatever_came_before():
    seed_epoch(3, 2)
    first = draws()
    draws()
    seed_epoch(3, 2)
    assert draws() == first


def test_neighbours_differ():
    seeds = {epoch_seed(seed, epoch) for seed in range(20) for epoch in range(20)}
    assert len(seeds) == 400


def test_the_cpu_needs_no_settings():
    before = torch.are_deterministic_algorithms_enabled()
    with deterministic(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled() == before


def test_cuda_is_asked_for_reproducible_kernels_and_given_back(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "before")  # so that setting it ends with the test
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")

    def settings():
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
            torch.backends.cudnn.benchmark,
        )

    before = settings()
    with deterministic(torch.device("cuda")):
        assert settings() == (True, True, False, False)
    assert settings() == before
