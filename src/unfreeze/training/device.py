"""Where to compute."""

from __future__ import annotations

import os

import torch
from torch import nn


def pick_device(name: str) -> torch.device:
    """The device called ``cpu``, ``cuda`` or ``mps``; ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        ValueError: this machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[name]:
        there = ", ".join(device for device, present in available.items() if present)
        raise ValueError(f"--device {name}: torch finds none on this machine (available: {there})")
    return torch.device(name)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told: it is told now and does it later, but for the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def parallelise(model: nn.Module, parallel: str, device: torch.device) -> nn.Module:
    """The module to call: ``model``, or for ``dp`` an ``nn.DataParallel`` that splits batches over all GPUs.

    Raises:
        ValueError: ``dp`` with GPUs present but ``device`` being another one.
    """
    if parallel == "none":
        return model
    if torch.cuda.is_available() and device.type != "cuda":
        raise ValueError(f"--parallel dp uses the GPUs, but --device is {device.type}; leave one of them out")
    return nn.DataParallel(model)
