import pytest
import torch
from torch import nn

from unfreeze.training.device import parallelise, pick_device


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"


def test_a_device_that_is_not_there_is_named_with_those_that_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"--device mps: .* \(available: cpu\)"):
        pick_device("mps")


def test_dp_wraps_and_none_does_not(monkeypatch):
    model = nn.Linear(1, 1)
    assert parallelise(model, "none", torch.device("cpu")) is model
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match="--parallel dp uses the GPUs, but --device is cpu"):
        parallelise(model, "dp", torch.device("cpu"))
