import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.training.balance import METHODS, Balance
from unfreeze.training.balance.focal import focal_factor
from unfreeze.training.losses import build_criterion, count_labelled, mean_over_tasks, summed_losses

SUBSETS = [tuple(m for i, m in enumerate(METHODS) if bits >> i & 1) for bits in range(2 ** len(METHODS))]
SINGLE = [0] * 6 + [1] * 3 + [2] + [None]
MULTI = [(0,)] * 5 + [(0, 1)] * 2 + [()] * 2 + [(2,), None]


def plain_single(logits, labels, *, smoothing, weights, prior, tau, gamma):
    """The definitions, written out for one clip after the other."""
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label == -1:
            continue
        if prior is not None:
            row = [value + tau * math.log(p) for value, p in zip(row, prior, strict=True)]
        norm = math.log(sum(map(math.exp, row)))
        logs = [value - norm for value in row]
        target = [smoothing / len(row) + (1 - smoothing) * (i == label) for i in range(len(row))]
        loss = -sum(t * log for t, log in zip(target, logs, strict=True))
        if gamma is not None:
            loss *= (1 - math.exp(logs[label])) ** gamma
        total += loss * (weights[label] if weights else 1.0)
    return total


def plain_multi(logits, labels, *, smoothing, weights, prior, tau, gamma):
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label[0] == -1:
            continue
        of_clip = 0.0
        for c, (value, has) in enumerate(zip(row, label, strict=True)):
            if prior is not None:
                value += tau * math.log(prior[c] / (1 - prior[c]))
            p = 1 / (1 + math.exp(-value))
            target = has * (1 - smoothing) + smoothing / 2
            loss = -target * math.log(p) - (1 - target) * math.log(1 - p)
            if gamma is not None:
                loss *= (1 - (p if has else 1 - p)) ** gamma
            of_clip += loss * (weights[c][has] if weights else 1.0)
        total += of_clip / len(row)
    return total


def batch_of(clips, seed, multilabel):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(clips, 3, generator=generator)
    labels = torch.randint(
        2 if multilabel else 3, (clips, 3) if multilabel else (clips,), generator=generator
    )
    labels[torch.rand(clips, generator=generator) < 0.3] = -1
    return logits.requires_grad_(), labels


@pytest.mark.parametrize("methods", SUBSETS, ids="+".join)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_every_stack_of_remedies_is_what_it_says(manifest_of, methods, smoothing):
    balance = Balance({"s": methods, "m": methods}, gamma=1.5, tau=0.7, beta=0.9)
    manifest = manifest_of(s=SINGLE, m=MULTI)
    criterion = build_criterion(balance, manifest, smoothing)
    single, of_single = batch_of(9, 0, False)
    multi, of_multi = batch_of(9, 1, True)

    found = criterion.sums({"s": single, "m": multi}, {"s": of_single, "m": of_multi})

    def scaled(counts):
        raw = [1.0] * len(counts)
        if "weights" in methods:
            raw = [r / n for r, n in zip(raw, counts, strict=True)]
        if "effective_number" in methods:
            raw = [r * 0.1 / (1 - 0.9**n) for r, n in zip(raw, counts, strict=True)]
        mean = sum(r * n for r, n in zip(raw, counts, strict=True)) / sum(counts)
        return [r / mean for r in raw]

    common = {"smoothing": smoothing, "tau": 0.7, "gamma": 1.5 if "focal" in methods else None}
    adjusted = "logit_adjustment" in methods
    expected = plain_single(
        single, of_single, weights=scaled([6, 3, 1]), prior=[0.6, 0.3, 0.1] if adjusted else None, **common
    )
    assert found["s"].item() == pytest.approx(expected, rel=1e-5)
    # of ten labelled clips 7, 2 and 1 have the class
    weights = [scaled([10 - n, n]) for n in (7, 2, 1)]
    expected = plain_multi(
        multi, of_multi, weights=weights, prior=[0.7, 0.2, 0.1] if adjusted else None, **common
    )
    assert found["m"].item() == pytest.approx(expected, rel=1e-5)


@given(clips=st.integers(1, 12), smoothing=st.sampled_from([0.0, 0.1]), seed=st.integers(0, 99))
def test_no_remedy_is_bit_for_bit_the_plain_loss(manifest_of, clips, smoothing, seed):
    balance = Balance({"s": (), "m": ("sampler",)})
    criterion = build_criterion(balance, manifest_of(s=SINGLE, m=MULTI), smoothing)
    single, of_single = batch_of(clips, seed, False)
    multi, of_multi = batch_of(clips, seed, True)

    found = criterion.sums({"s": single, "m": multi}, {"s": of_single, "m": of_multi})

    plain = F.cross_entropy(single, of_single, ignore_index=-1, label_smoothing=smoothing, reduction="sum")
    assert torch.equal(found["s"], plain)
    assert torch.equal(found["m"], summed_losses({"m": multi}, {"m": of_multi}, smoothing)["m"])


@pytest.mark.parametrize("methods", SUBSETS, ids="+".join)
def test_a_masked_clip_has_no_part_and_no_gradient(manifest_of, methods):
    manifest = manifest_of(s=SINGLE, m=MULTI)
    criterion = build_criterion(Balance({"s": methods, "m": methods}), manifest, 0.1)
    logits = {"s": torch.randn(3, 3, requires_grad=True), "m": torch.randn(3, 3, requires_grad=True)}
    labels = {"s": torch.tensor([-1, 1, -1]), "m": torch.tensor([[-1] * 3, [0, 1, 1], [-1] * 3])}

    sums = criterion.sums(logits, labels)
    mean_over_tasks(sums, count_labelled([labels])).backward()

    alone = {task: value[1:2].detach() for task, value in logits.items()}
    expected = criterion.sums(alone, {task: of_task[1:2] for task, of_task in labels.items()})
    for task, value in logits.items():
        torch.testing.assert_close(sums[task], expected[task])
        assert value.grad[1].all()
        assert not value.grad[[0, 2]].any()
    nothing = {task: torch.full_like(of_task, -1) for task, of_task in labels.items()}
    assert all(total.item() == 0 for total in criterion.sums(logits, nothing).values())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_bears_certainty(gamma):
    logs = torch.tensor([0.0, -1e-9, -1.0, -60.0], requires_grad=True)
    (focal_factor(logs, gamma) * -logs).sum().backward()
    assert logs.grad.isfinite().all()
    torch.testing.assert_close(
        focal_factor(torch.tensor([-math.log(2.0)]), gamma), torch.tensor([0.5**gamma])
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [80.0, -80.0, 40000.0])
def test_extreme_logits_in_half_precision_stay_finite(manifest_of, method, value):
    manifest = manifest_of(s=SINGLE, m=MULTI)
    criterion = build_criterion(Balance({"s": (method,), "m": (method,)}, gamma=0.5), manifest, 0.1)
    logits = torch.tensor([[value, -value, 0.0]], dtype=torch.float16, requires_grad=True)
    sums = criterion.sums(
        {"s": logits, "m": logits}, {"s": torch.tensor([0]), "m": torch.tensor([[1, 0, 1]])}
    )
    assert all(total.dtype == torch.float32 for total in sums.values())
    assert all(total.isfinite() for total in sums.values())
    sum(sums.values()).backward()
    assert logits.grad.isfinite().all()


def test_a_class_without_a_training_clip_keeps_the_loss_finite(manifest_of):
    manifest = manifest_of(classes=4, s=SINGLE, m=MULTI)
    for methods in SUBSETS:
        criterion = build_criterion(Balance({"s": methods, "m": methods}), manifest, 0.1)
        # of the class that never occurred, as a resumed run might see it
        labels = {"s": torch.tensor([3, 0]), "m": torch.tensor([[0, 0, 0, 1], [1, 0, 0, 0]])}
        sums = criterion.sums({"s": torch.zeros(2, 4), "m": torch.zeros(2, 4)}, labels)
        assert all(total.isfinite() for total in sums.values())


@pytest.mark.parametrize("method", ["weights", "sampler", "logit_adjustment"])
def test_a_head_that_sees_nothing_learns_equal_classes(manifest_of, method):
    """The best constant answer to imbalanced labels: what the effective prior promises."""
    from unfreeze.data.order import epoch_order
    from unfreeze.training.balance import sample_weights

    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    manifest = manifest_of(s=labels.tolist())
    balance = Balance({"s": (method,)})
    criterion, weights = build_criterion(balance, manifest), sample_weights(balance, manifest)
    bias = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.SGD([bias], lr=0.5)
    picks = [epoch_order(100, seed=0, epoch=e, shuffle=True, weights=weights) for e in range(60)]
    seen = labels[torch.tensor(picks).flatten()]
    for _ in range(400):
        optimizer.zero_grad()
        sums = criterion.sums({"s": bias.expand(len(seen), 3)}, {"s": seen})
        mean_over_tasks(sums, {"s": len(seen)}).backward()
        optimizer.step()
    torch.testing.assert_close(bias.detach().softmax(0), torch.full((3,), 1 / 3), atol=0.03, rtol=0)
