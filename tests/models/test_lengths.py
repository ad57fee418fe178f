"""Clips of other lengths: refused in one line where the backbone cannot take them."""

import pytest
import torch

from unfreeze.models import build_model

TASKS = {"a": ["x", "y"]}


@pytest.mark.parametrize(
    ("name", "frames", "message"),
    [
        ("mvit_v2_s", 32, r"^--frames 32: mvit_v2_s takes 16 frames$"),
        ("mvit_v1_b", 8, r"^--frames 8: mvit_v1_b takes 16 frames$"),
        ("mvit_micro", 16, r"^--frames 16: mvit_micro takes 8 frames$"),
        ("s3d", 8, r"^--frames 8: s3d takes 13 frames or more$"),
    ],
)
def test_a_length_that_does_not_fit(name: str, frames: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(name, TASKS, weights="none", clip={"frames": frames})


@pytest.mark.parametrize(
    ("name", "frames"), [("r3d_micro", 3), ("swin3d_t", 7), ("s3d", 16), ("mvit_v2_s", 16)]
)
def test_a_length_that_does(name: str, frames: int) -> None:
    model = build_model(name, TASKS, weights="none", clip={"frames": frames, "fps": 4.0})
    assert (model.preprocessing.frames, model.preprocessing.fps) == (frames, 4.0)


def test_asking_draws_nothing_from_the_generator() -> None:
    def head(clip: dict | None) -> torch.Tensor:
        torch.manual_seed(0)
        return build_model("r3d_micro", TASKS, weights="none", clip=clip).heads["a"].weight

    assert torch.equal(head({"frames": 4}), head(None))
