"""Block lists of two real models, and a player that feeds a strategy its own past."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from unfreeze.history import EpochRecord, History
from unfreeze.strategies import BlockInfo, Decision, Strategy

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

MVIT_V2_S = {
    "stem": 42_528,
    "blocks.0": 142_944,
    "blocks.1": 428_352,
    "blocks.2": 465_216,
    "blocks.3": 1_641_984,
    **{f"blocks.{index}": 1_789_440 for index in range(4, 14)},
    "blocks.14": 6_513_024,
    "blocks.15": 7_101_696,  # with the final norm
}

Play = Callable[..., list[Decision]]


@pytest.fixture
def r3d_18() -> tuple[BlockInfo, ...]:
    return tuple(BlockInfo(name, size) for name, size in R3D_18.items())


@pytest.fixture
def mvit_v2_s() -> tuple[BlockInfo, ...]:
    return tuple(BlockInfo(name, size) for name, size in MVIT_V2_S.items())


@pytest.fixture
def play() -> Play:
    """``play(strategy, blocks, values)``: the decisions for epochs 1 … len(values) + 1."""

    def run(
        strategy: Strategy,
        blocks: tuple[BlockInfo, ...],
        values: Iterable[float],
        metric: str = "val/accuracy",
    ) -> list[Decision]:
        history = History(monitor=metric)
        decisions = [strategy.decide(history, blocks)]
        for value in values:
            record = EpochRecord(history.next_epoch, decisions[-1].trainable, {metric: value})
            history = history.append(record)
            decisions.append(strategy.decide(history, blocks))
        return decisions

    return run
