"""Transitions and statuses as the freezer makes them, without a model: a run is simulated from a strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from unfreeze.freezer import ParamStatus, Transition
from unfreeze.history import EpochRecord, History
from unfreeze.report.record import epoch_record
from unfreeze.strategies import BlockInfo, Strategy

R3D_18 = {
    "stem": 28_352,
    "layer1.0": 221_440,
    "layer1.1": 221_440,
    "layer2.0": 672_512,
    "layer2.1": 885_248,
    "layer3.0": 2_688_512,
    "layer3.1": 3_539_968,
    "layer4.0": 10_750_976,
    "layer4.1": 14_157_824,
}
HEADS = 5_130
MONITOR = "val/accuracy"


@dataclass(frozen=True)
class Epoch:
    """One simulated epoch: what the freezer said at its start, and its record."""

    transition: Transition
    status: ParamStatus
    record: dict[str, Any]


Simulate = Callable[..., list[Epoch]]


@pytest.fixture
def simulate() -> Simulate:
    """``simulate(strategy, values)``: one epoch per monitored value, on r3d_18's blocks unless given."""

    def run(
        strategy: Strategy,
        values: Sequence[float],
        sizes: dict[str, int] = R3D_18,
        tasks: Sequence[str] = ("motion", "object"),
    ) -> list[Epoch]:
        blocks = [BlockInfo(name, size) for name, size in sizes.items()]
        history, previous, best, epochs = History(monitor=MONITOR), None, None, []
        for value in values:
            decision = strategy.decide(history, blocks)
            now, before = decision.trainable, previous or ()
            transition = Transition(
                epoch=decision.epoch,
                decision=decision,
                thawed=tuple(name for name in now if name not in before),
                frozen=tuple(name for name in before if name not in now),
                sizes=sizes,
                previous=previous,
            )
            status = status_of(sizes, now)
            metrics = {"train/loss": 1.5, "val/loss": 1.25, MONITOR: value}
            for task in tasks:
                metrics |= {
                    f"train/{task}/loss": 1.5,
                    f"val/{task}/loss": 1.25,
                    f"val/{task}/accuracy": value / 2,
                }
            if best is None or value > best["value"]:
                best = {"epoch": decision.epoch, "value": value}
            record = epoch_record(
                transition,
                status,
                metrics=metrics,
                monitor=MONITOR,
                best=best,
                learning_rates={"heads": 1e-3},
                seconds=4.2,
                clips_per_second=41.0,
                data_wait=0.125,
            )
            epochs.append(Epoch(transition, status, record))
            history, previous = history.append(EpochRecord(decision.epoch, now, {MONITOR: value})), now
        return epochs

    return run


def status_of(sizes: dict[str, int], trainable: Sequence[str], heads: int = HEADS) -> ParamStatus:
    backbone, training = sum(sizes.values()), sum(sizes[name] for name in trainable)
    return ParamStatus(
        total=backbone + heads,
        trainable=training + heads,
        backbone_total=backbone,
        backbone_trainable=training,
        heads_total=heads,
        heads_trainable=heads,
        frozen=backbone - training,
        blocks={name: name in trainable for name in sizes},
    )
