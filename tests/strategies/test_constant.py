"""The two baselines: none trains everything, head_only nothing of the backbone."""

from __future__ import annotations

from unfreeze.strategies.head_only import HeadOnly
from unfreeze.strategies.none import NoFreezing


def test_none_trains_every_block_in_every_epoch(play, r3d_18):
    decisions = play(NoFreezing(), r3d_18, [0.5, 0.5])

    assert [d.trainable for d in decisions] == [tuple(block.name for block in r3d_18)] * 3
    assert {d.reason for d in decisions} == {"everything trains"}


def test_head_only_trains_no_block_in_any_epoch(play, r3d_18):
    decisions = play(HeadOnly(), r3d_18, [0.5, 0.5])

    assert [d.trainable for d in decisions] == [(), (), ()]
    assert {d.target for d in decisions} == {0}
