import pytest
import torch
from torch import nn

from unfreeze.training.evaluate import evaluate

CPU = torch.device("cpu")


class Echo(nn.Module):
    """Says what the video holds: its first numbers are the logits."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2, affine=False)

    def forward(self, x):
        logits = x.flatten(1)[:, :2]
        self.norm(logits)
        return {"motion": logits, "colour": -logits}


def batch(rows, motion, colour, start):
    video = torch.tensor(rows, dtype=torch.float32)[:, None, None, None, None, :]
    labels = {"motion": torch.tensor(motion), "colour": torch.tensor(colour)}
    return {"video": video, "labels": labels, "index": torch.arange(start, start + len(rows))}


BATCHES = [batch([[2, 0], [0, 2]], [0, 1], [-1, -1], 0), batch([[2, 0]], [1], [-1], 2)]


def test_measures_labelled_tasks_and_keeps_the_order_of_clips():
    found = evaluate(Echo(), BATCHES, tasks=("motion", "colour"), device=CPU)
    assert found.metrics["motion/accuracy"] == pytest.approx(2 / 3)
    assert found.metrics["accuracy"] == found.metrics["motion/accuracy"]
    right, wrong = torch.tensor([2.0, 0.0]).log_softmax(0).neg().tolist()
    assert found.metrics["loss"] == pytest.approx((2 * right + wrong) / 3)
    assert not any(name.startswith("colour") for name in found.metrics)
    assert found.indices.tolist() == [0, 1, 2]
    assert found.probabilities["motion"].argmax(1).tolist() == [0, 1, 0]
    assert found.probabilities["colour"].argmax(1).tolist() == [1, 0, 1]
    torch.testing.assert_close(found.probabilities["motion"].sum(1), torch.ones(3))


@pytest.mark.parametrize("training", [True, False])
def test_changes_nothing_about_the_model(training):
    model = Echo().train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, BATCHES, tasks=("motion",), device=CPU)
    assert model.training == training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_nothing_labelled_is_no_metric_but_predictions():
    found = evaluate(Echo(), BATCHES, tasks=("colour",), device=CPU)
    assert found.metrics == {}
    assert found.probabilities["colour"].shape == (3, 2)


def test_nothing_at_all_is_an_error():
    with pytest.raises(ValueError, match="no clips to evaluate"):
        evaluate(Echo(), [], tasks=("motion",), device=CPU)
