"""Number formats: mixed precision by ``torch.autocast``, and the gradient scaling that fp16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context of a forward pass in ``fp32``, ``bf16`` or ``fp16``; weights stay float32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_TYPES[precision])


def make_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Loss scaling for fp16, whose small gradients would become 0; switched off for the others."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
