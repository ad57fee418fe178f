import pytest
import torch
from torch import nn

from unfreeze.training.evaluate import evaluate
from unfreeze.training.forward import Forward

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
    index = torch.arange(start, start + len(rows))
    mask = torch.ones(len(rows), 1, dtype=torch.bool)
    return {"video": video, "view_mask": mask, "labels": labels, "index": index}


BATCHES = [batch([[2, 0], [0, 2]], [0, 1], [-1, -1], 0), batch([[2, 0]], [1], [-1], 2)]


def test_measures_labelled_tasks_and_keeps_the_order_of_clips():
    found = evaluate(Forward(Echo(), CPU), BATCHES, tasks=("motion", "colour"))
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
    evaluate(Forward(model, CPU), BATCHES, tasks=("motion",))
    assert model.training == training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_nothing_labelled_is_no_metric_but_predictions():
    found = evaluate(Forward(Echo(), CPU), BATCHES, tasks=("colour",))
    assert found.metrics == {}
    assert found.probabilities["colour"].shape == (3, 2)


def test_nothing_at_all_is_an_error():
    with pytest.raises(ValueError, match="no clips to evaluate"):
        evaluate(Forward(Echo(), CPU), [], tasks=("motion",))


def test_copies_of_a_clip_are_averaged_as_probabilities():
    rows = [[2, 0], [0, 2], [0, 4], [1, 0]]  # two clips, seen twice each
    copies = batch(rows, [0, 1], [0, -1], 0) | {"index": torch.arange(2)}
    found = evaluate(Forward(Echo(), CPU), [copies], tasks=("motion", "colour"), multilabel=())
    means = torch.tensor(rows, dtype=torch.float32).softmax(1).unflatten(0, (2, 2)).mean(1)
    torch.testing.assert_close(found.probabilities["motion"], means)
    assert found.metrics["motion/loss"] == pytest.approx(
        -(means[0, 0].log() + means[1, 1].log()).item() / 2, rel=1e-5
    )
    assert found.metrics["motion/accuracy"] == 1
    assert found.indices.tolist() == [0, 1]


@pytest.mark.parametrize("copies", [1, 2])
def test_a_multi_label_task_has_probabilities_of_its_own(copies):
    rows = [[2, -1], [0.4, 0.3]]
    of_clips = batch(rows, [0, 1], [-1, -1], 0)
    of_clips["labels"]["motion"] = torch.tensor([[1, 0], [0, 1]])
    of_clips["video"] = of_clips["video"].repeat_interleave(copies, dim=0)
    found = evaluate(Forward(Echo(), CPU), [of_clips], tasks=("motion",), multilabel={"motion"})
    expected = torch.tensor(rows).sigmoid()
    torch.testing.assert_close(found.probabilities["motion"], expected)
    loss = torch.nn.functional.binary_cross_entropy(expected, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert found.metrics["motion/loss"] == pytest.approx(loss.item(), rel=1e-5)
    # logits of 0.3 and 0.4 are above a half, though they look like probabilities that are not
    assert found.metrics["motion/accuracy"] == 1 / 2
    assert set(found.metrics) >= {"mAP", "motion/mAP"}


def test_copies_of_a_multi_label_clip_are_averaged_as_probabilities():
    rows = [[3, -3], [-1, -90]]
    of_clip = batch(rows, [0], [-1], 0) | {"index": torch.arange(1)}
    of_clip["labels"] = {"motion": torch.tensor([[1, 0]])}
    found = evaluate(Forward(Echo(), CPU), [of_clip], tasks=("motion",), multilabel={"motion"})
    torch.testing.assert_close(
        found.probabilities["motion"], torch.tensor(rows).sigmoid().mean(0, keepdim=True)
    )


def test_the_view_mask_goes_to_the_model():
    class Masked(nn.Module):
        def forward(self, x, view_mask):
            return {"motion": (x.flatten(2)[..., :2] * view_mask[..., None]).sum(1)}

    video = torch.tensor([[[2.0, 0.0], [0.0, 9.0]]])[:, :, None, None, None, :]
    mask = torch.tensor([[True, False]])
    labels = {"motion": torch.tensor([0])}
    found = evaluate(
        Forward(Masked(), CPU),
        [{"video": video, "view_mask": mask, "labels": labels, "index": torch.arange(1)}],
        tasks=("motion",),
    )
    assert found.metrics["accuracy"] == 1


def test_one_copy_is_bit_for_bit_what_the_logits_say():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 2, generator=generator)
    found = evaluate(
        Forward(Echo(), CPU), [batch(rows.tolist(), [0, 1, 1, 0, 1], [-1] * 5, 0)], tasks=("motion",)
    )
    assert torch.equal(found.probabilities["motion"], rows.softmax(1))
    total = torch.nn.functional.cross_entropy(rows, torch.tensor([0, 1, 1, 0, 1]), reduction="sum")
    assert found.metrics["loss"] == float(total) / 5
