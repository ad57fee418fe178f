import numpy as np
import pytest

from unfreeze.training.board import FROZEN, TRAINABLE, Board, freeze_map


def test_the_map_has_the_output_on_top_and_time_to_the_right():
    picture = freeze_map(["stem", "layer1"], [[], ["layer1"]])
    corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(corners, [FROZEN, TRAINABLE, FROZEN, FROZEN], rtol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_hold_the_scalars_of_each_epoch_and_forget_those_after_the_resumed_one(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = Board(tmp_path, ["stem", "layer1"], first_epoch=1)
    board.write(1, {"val/loss": 2.0}, [[]])
    board.write(2, {"val/loss": 9.0}, [[], ["layer1"]])
    board.close()
    board = Board(tmp_path, ["stem", "layer1"], first_epoch=2)
    board.write(2, {"val/loss": 1.0}, [[], ["layer1"]])
    board.close()

    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("val/loss")] == [(1, 2.0), (2, 1.0)]
    assert events.Tags()["images"] == ["blocks/trainable"]
