"""Optimizers and schedulers by name, and the gate around ``optimizer.step``."""

from unfreeze.optim.gate import StepGate
from unfreeze.optim.groups import add_group
from unfreeze.optim.muon import MuonWithAdamW
from unfreeze.optim.optimizers import build_optimizer, optimizers
from unfreeze.optim.schedulers import NoSchedule, Schedule, build_scheduler, schedulers

__all__ = [
    "MuonWithAdamW",
    "NoSchedule",
    "Schedule",
    "StepGate",
    "add_group",
    "build_optimizer",
    "build_scheduler",
    "optimizers",
    "schedulers",
]
