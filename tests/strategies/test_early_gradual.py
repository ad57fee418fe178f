"""early_gradual as a table: which blocks train in which epoch."""

from __future__ import annotations

import pytest

from unfreeze.strategies import BlockInfo
from unfreeze.strategies.early_gradual import EarlyGradual


def test_r3d_18_with_the_defaults(play, r3d_18):
    decisions = play(EarlyGradual(), r3d_18, [0.5] * 5)

    assert [d.trainable for d in decisions] == [(), ("layer4.1",), *[("layer4.0", "layer4.1")] * 4]
    assert {d.target for d in decisions} == {16_583_136}
    assert [d.epoch for d in decisions] == [1, 2, 3, 4, 5, 6]


def test_mvit_v2_s_with_the_defaults(play, mvit_v2_s):
    decisions = play(EarlyGradual(), mvit_v2_s, [0.5] * 6)

    whole = ("blocks.12", "blocks.13", "blocks.14", "blocks.15")
    assert [d.trainable for d in decisions] == [(), whole[3:], whole[2:], whole[1:], whole, whole, whole]


@pytest.mark.parametrize(
    ("settings", "thawed"),
    [
        ({"freeze_epochs": 0}, [1, 2, 2, 2]),
        ({"freeze_epochs": 2, "target_ratio": 0.3}, [0, 0, 1, 1]),
        ({"freeze_epochs": 99}, [0, 0, 0, 0]),
        ({"blocks_per_epoch": 3, "target_ratio": 1.0}, [0, 3, 6, 9]),
        ({"blocks_per_epoch": 50}, [0, 2, 2, 2]),
        ({"target_ratio": 0.0}, [0, 0, 0, 0]),
    ],
)
def test_number_of_trainable_blocks_in_epochs_1_to_4(play, r3d_18, settings, thawed):
    decisions = play(EarlyGradual(**settings), r3d_18, [0.5] * 3)

    names = [block.name for block in r3d_18]
    assert [d.trainable for d in decisions] == [tuple(names[len(names) - n :]) for n in thawed]


def test_a_target_met_exactly_takes_no_further_block_in_spite_of_float_noise(play):
    # 0.07 * 100 is 7.000000000000001 in floats
    blocks = tuple(BlockInfo(f"b{i}", 1) for i in range(100))

    last = play(EarlyGradual(blocks_per_epoch=100, target_ratio=0.07), blocks, [0.5])[-1]

    assert len(last.trainable) == 7
    assert last.target == 7


@pytest.mark.parametrize(
    ("epoch", "reason"),
    [
        (1, "the backbone is frozen through epoch 1"),
        (2, "1 of 2 blocks on the way to 50% of the backbone"),
        (3, "the target of 50% of the backbone is reached"),
    ],
)
def test_reason(play, r3d_18, epoch, reason):
    assert play(EarlyGradual(), r3d_18, [0.5] * 3)[epoch - 1].reason == reason


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freeze_epochs": -1}, "^freeze_epochs must be at least 0, not -1"),
        ({"blocks_per_epoch": 0}, "^blocks_per_epoch must be at least 1, not 0"),
        ({"target_ratio": 1.1}, "^target_ratio must be at least 0 and at most 1, not 1.1"),
        ({"freeze_epochs": 1.5}, "^freeze_epochs must be a whole number, not 1.5"),
        ({"target_ratio": float("nan")}, "^target_ratio must be a number, not nan"),
    ],
)
def test_values_out_of_range(settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        EarlyGradual(**settings)
