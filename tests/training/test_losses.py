import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.training.losses import MASKED, count_labelled, known, mean_over_tasks, summed_losses


def logits_and_labels(clips: int, classes: int, masked: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(clips, classes, generator=generator, requires_grad=True)
    labels = torch.randint(classes, (clips,), generator=generator)
    labels[torch.rand(clips, generator=generator) < masked] = MASKED
    return logits, labels


def test_is_the_mean_over_tasks_of_torchs_cross_entropy():
    a, of_a = logits_and_labels(6, 3, 0.0, seed=0)
    b, of_b = logits_and_labels(6, 5, 0.5, seed=1)
    labels = {"a": of_a, "b": of_b}
    loss = mean_over_tasks(summed_losses({"a": a, "b": b}, labels, 0.1), count_labelled([labels]))
    expected = F.cross_entropy(a, of_a, label_smoothing=0.1)
    expected = (expected + F.cross_entropy(b, of_b, ignore_index=MASKED, label_smoothing=0.1)) / 2
    torch.testing.assert_close(loss, expected)


def test_a_task_without_labels_contributes_nothing_and_no_nan():
    a, of_a = logits_and_labels(4, 3, 0.0, seed=0)
    b, of_b = logits_and_labels(4, 3, 1.1, seed=1)
    labels = {"a": of_a, "b": of_b}
    loss = mean_over_tasks(summed_losses({"a": a, "b": b}, labels), count_labelled([labels]))
    loss.backward()
    torch.testing.assert_close(loss, F.cross_entropy(a, of_a) / 2)
    assert b.grad is not None
    assert not b.grad.any()


@given(
    clips=st.integers(2, 12),
    cut=st.integers(1, 11),
    masked=st.sampled_from([0.0, 0.3, 0.9]),
    smoothing=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 99),
)
def test_cutting_a_step_into_batches_changes_no_gradient(clips, cut, masked, smoothing, seed):
    logits, labels = logits_and_labels(clips, 4, masked, seed)
    counts = count_labelled([{"t": labels}])
    whole = mean_over_tasks(summed_losses({"t": logits}, {"t": labels}, smoothing), counts)
    (expected,) = torch.autograd.grad(whole, logits)
    parts = [slice(0, cut), slice(cut, clips)] if cut < clips else [slice(0, clips)]
    for part in parts:
        sums = summed_losses({"t": logits[part]}, {"t": labels[part]}, smoothing)
        mean_over_tasks(sums, counts).backward()
    torch.testing.assert_close(logits.grad, expected)


def test_is_computed_in_float32():
    logits = torch.tensor([[40000.0, -40000.0]], dtype=torch.float16)
    (loss,) = summed_losses({"t": logits}, {"t": torch.tensor([1])}).values()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(80000)


def test_task_weights_are_factors_and_none_is_bit_for_bit_the_mean():
    sums = {"a": torch.tensor(3.1), "b": torch.tensor(5.7)}
    counts = {"a": 3, "b": 0}
    plain = torch.stack([sums["a"] / 3, sums["b"] / 1]).mean()
    assert torch.equal(mean_over_tasks(sums, counts), plain)
    weighted = mean_over_tasks(sums, counts, {"a": 1.5, "b": 0.5})
    torch.testing.assert_close(weighted, (1.5 * sums["a"] / 3 + 0.5 * sums["b"]) / 2)


def test_multi_label_clips_are_counted_once_and_their_loss_is_a_mean_over_classes():
    logits = torch.tensor([[0.3, -1.0, 2.0], [0.0, 1.0, -1.0], [5.0, 5.0, 5.0]])
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [-1, -1, -1]])
    assert known(labels).tolist() == [True, True, False]
    assert known(torch.tensor([0, -1, 2])).tolist() == [True, False, True]
    assert count_labelled([{"t": labels}, {"t": labels[1:]}]) == {"t": 3}
    (loss,) = summed_losses({"t": logits}, {"t": labels}).values()
    mean = F.binary_cross_entropy_with_logits(logits[:2], labels[:2].float())
    torch.testing.assert_close(loss, 2 * mean)


def test_shares_of_a_clip_may_be_counted():
    # mixup: two labels of a clip, in parts
    sums = {"t": torch.tensor(4.0)}
    torch.testing.assert_close(mean_over_tasks(sums, {"t": 2.5}), torch.tensor(1.6))
