"""Muon for the matrices of hidden layers and AdamW for everything else, as one optimizer.

Muon orthogonalises the momentum of a weight matrix: Keller Jordan et al., "Muon: An optimizer for hidden
layers in neural networks", 2024, https://kellerjordan.github.io/posts/muon/, which leaves embeddings,
output layers, biases and norms to AdamW. By default its update is scaled to the size of AdamW's (Liu et
al., "Muon is Scalable for LLM Training", 2025, arXiv:2502.16982), so that one learning rate and one weight
decay fit both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer


class MuonWithAdamW(Optimizer):
    """``torch.optim.Muon`` and ``torch.optim.AdamW`` behind one list of parameter groups.

    Each group has an ``algorithm``, ``"muon"`` or ``"adamw"``; a given group with parameters for both
    becomes two. Muon gets the two-dimensional weights of groups that are not of ``kind`` ``"head"``,
    without tables of positions and embeddings as far as the group's ``parameter_names`` tell. Convolution
    kernels are not matrices: AdamW's.

    Args:
        params: parameters or groups of them.
        lr: learning rate of both.
        weight_decay: decoupled weight decay of both.
        momentum, nesterov, ns_steps, adjust_lr_fn: see ``torch.optim.Muon``.
        betas: see ``torch.optim.AdamW``.
        eps: keeps both from dividing by zero.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: str = "match_rms_adamw",
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        muon = Muon(
            [torch.zeros(1, 1)],
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=nesterov,
            ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn,
            eps=eps,
        )
        adamw = AdamW([torch.zeros(1)], lr=lr, weight_decay=weight_decay, betas=betas, eps=eps)
        self._halves: dict[str, Optimizer] = {"muon": muon, "adamw": adamw}
        # every group has the options of both, so that a scheduler may cycle any of them in all groups
        super().__init__(params, {**adamw.defaults, **muon.defaults})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; parameters for Muon and for AdamW go to one group each."""
        params = param_group["params"]
        params = [params] if isinstance(params, torch.Tensor) else list(params)
        plain = [p[1] if isinstance(p, tuple) else p for p in params]
        tags = [p[0] for p in params if isinstance(p, tuple)]
        names = list(param_group.get("parameter_names", tags or ["weight"] * len(params)))
        head = param_group.get("kind") == "head"
        for algorithm in ("muon", "adamw"):
            chosen = [
                i
                for i, p in enumerate(plain)
                if _is_hidden_matrix(names[i], p, head) == (algorithm == "muon")
            ]
            if chosen:
                group = {**param_group, "params": [params[i] for i in chosen], "algorithm": algorithm}
                if "parameter_names" in group:
                    group["parameter_names"] = tuple(names[i] for i in chosen)
                super().add_param_group(group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for algorithm, half in self._halves.items():
            # the very groups and the very state of this optimizer, whatever was loaded, added or gated since
            half.param_groups = [group for group in self.param_groups if group["algorithm"] == algorithm]
            half.state = self.state
            half.step()
        return loss

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_halves": self._halves}


def _is_hidden_matrix(name: str, parameter: nn.Parameter, head: bool) -> bool:
    path = name.lower().split(".")
    return (
        parameter.ndim == 2
        and not head
        and path[-1].endswith("weight")
        and not any("embed" in part for part in path)
    )
