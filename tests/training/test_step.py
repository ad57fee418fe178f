"""One step against its definition, written out: what the model sees, and what is minimised."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unfreeze.training.config import TrainConfig
from unfreeze.training.forward import Forward
from unfreeze.training.losses import Criterion
from unfreeze.training.mixing import Mixing
from unfreeze.training.precision import make_scaler
from unfreeze.training.step import Stepper

CPU = torch.device("cpu")


class Watched(nn.Module):
    """Two classes from the mean of all views; keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        self.given: list[tuple[torch.Tensor, ...]] = []

    def forward(self, video, view_mask=None):
        self.given.append((video, view_mask))
        return {"motion": self.head(video.mean((1, 3, 4, 5)))}


def batch_of(size: int, first: int = 0) -> dict:
    generator = torch.Generator().manual_seed(first)
    return {
        "video": torch.randn(size, 2, 3, 2, 4, 4, generator=generator),
        "view_mask": torch.ones(size, 2, dtype=torch.bool),
        "labels": {"motion": torch.tensor([0, 1, -1, 1, 0, 1][:size])},
        "index": torch.arange(first, first + size),
    }


def stepper(**flags) -> Stepper:
    torch.manual_seed(0)
    config, model = TrainConfig(**flags), Watched()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made = SimpleNamespace(
        model=model, parallel=model, optimizer=optimizer, scaler=make_scaler(CPU, config.precision)
    )
    forward = Forward(model, CPU, config.precision)
    return Stepper(config, CPU, made, forward, Criterion(), Mixing(config.mixup, config.cutmix, config.seed))


@pytest.mark.parametrize("flags", [{}, {"mixup": 1.0}, {"cutmix": 1.0}], ids=["plain", "mixup", "cutmix"])
def test_a_step_is_its_definition(flags):
    made = stepper(**flags)
    model, window = made.made.model, [batch_of(6), batch_of(4, first=6)]
    known = sum(int((batch["labels"]["motion"] >= 0).sum()) for batch in window)
    loss = torch.tensor(0.0)
    for number, batch in enumerate(window):
        mix = made.mixing.draw(2, 5, len(batch["index"]), first=number)
        assert (mix is None) == (not flags)
        labels = batch["labels"]["motion"]
        video = batch["video"] if mix is None else mix.video(batch["video"])
        logits = model.head(video.mean((1, 3, 4, 5)))
        each = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
        if mix is not None:
            other = F.cross_entropy(logits, labels[mix.partner], ignore_index=-1, reduction="sum")
            each = mix.share * each + (1 - mix.share) * other
        loss = loss + each / known
    expected = torch.autograd.grad(loss, list(model.parameters()))
    sums = [sums["motion"].detach() for _, sums in made.backward(window, 2, 5, None)]
    assert float(sum(sums) / known) == pytest.approx(float(loss.detach()), rel=1e-5)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    assert made.update()
    for parameter, was, gradient in zip(model.parameters(), before, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), was - 0.1 * gradient)
        assert parameter.grad is None


@pytest.mark.parametrize("padded", [True, False])
def test_the_mask_goes_along_where_there_is_padding(padded):
    made, batch = stepper(mixup=1.0), batch_of(3)
    if padded:
        batch["view_mask"][1, 1] = False
        batch["video"][1, 1] = 0
    list(made.backward([batch], 1, 1, None))
    ((video, mask),) = made.made.model.given
    assert (mask is not None) == padded
    if padded:
        assert torch.equal(mask, batch["view_mask"])
        assert not video[1, 1].any()  # padding stays padding


def test_task_weights_are_factors_of_the_loss():
    gradients = []
    for weights in (None, {"motion": 3.0}):
        made = stepper()
        list(made.backward([batch_of(4)], 1, 1, weights))
        gradients.append(made.made.model.head.weight.grad)
    torch.testing.assert_close(3 * gradients[0], gradients[1])
