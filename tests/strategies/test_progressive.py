"""progressive as a table: its timetable."""

from __future__ import annotations

import pytest

from unfreeze.strategies.progressive import Progressive


@pytest.mark.parametrize(
    ("settings", "thawed"),
    [
        ({}, [0, 1, 1, 2, 2, 3, 3, 4]),
        ({"start_epoch": 1}, [1, 1, 2, 2, 3, 3, 4, 4]),
        ({"start_epoch": 4, "interval": 3}, [0, 0, 0, 1, 1, 1, 2, 2]),
        ({"interval": 1, "blocks_per_step": 4}, [0, 4, 8, 9, 9, 9, 9, 9]),
        ({"interval": 1, "target_ratio": 0.5}, [0, 1, 2, 2, 2, 2, 2, 2]),
        ({"start_epoch": 100}, [0] * 8),
    ],
)
def test_number_of_trainable_blocks_in_epochs_1_to_8(play, r3d_18, settings, thawed):
    decisions = play(Progressive(**settings), r3d_18, [0.5] * 7)

    names = [block.name for block in r3d_18]
    assert [d.trainable for d in decisions] == [tuple(names[len(names) - n :]) for n in thawed]


def test_it_says_when_the_next_thaw_is_and_that_the_last_one_was(play, r3d_18):
    reasons = [d.reason for d in play(Progressive(target_ratio=0.5), r3d_18, [0.5] * 3)]

    assert reasons == [
        "0 of 2 blocks train, the next thaw is at the start of epoch 2",
        "1 of 2 blocks train, the next thaw is at the start of epoch 4",
        "1 of 2 blocks train, the next thaw is at the start of epoch 4",
        "the target of 50% of the backbone is reached",
    ]


def test_epoch_numbers_start_at_one():
    with pytest.raises(ValueError, match=r"^start_epoch must be at least 1, not 0"):
        Progressive(start_epoch=0)
