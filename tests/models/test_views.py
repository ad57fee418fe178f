"""Every way to make one feature of several views: order and absent views do not matter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from unfreeze.models.views import make_pooling, poolings
from unfreeze.models.views.attention import AttentionPooling

WIDTH = 6


def pooling(name: str):
    made = make_pooling(name, WIDTH)
    if isinstance(made, AttentionPooling):
        nn.init.normal_(made.score.weight)  # it begins as a mean, which would prove little
    return made


def features(batch: int, views: int) -> Tensor:
    return torch.randn(batch, views, WIDTH)


@pytest.mark.parametrize("name", poolings())
@given(views=st.integers(1, 9), absent=st.integers(0, 5), seed=st.integers(0, 99))
def test_absent_views_change_no_bit(name: str, views: int, absent: int, seed: int) -> None:
    torch.manual_seed(seed)
    pool, there = pooling(name), features(3, views)
    padded = torch.cat([there, torch.zeros(3, absent, WIDTH)], dim=1)
    mask = torch.arange(views + absent).expand(3, -1) < views
    torch.testing.assert_close(pool(padded, mask), pool(there, None), rtol=0, atol=0)


@pytest.mark.parametrize("name", poolings())
def test_each_video_has_its_own_mask(name: str) -> None:
    torch.manual_seed(0)
    pool, mask = pooling(name), torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
    all_of_them = features(3, 3) * mask.unsqueeze(2)
    expected = [pool(row[m].unsqueeze(0), None)[0] for row, m in zip(all_of_them, mask, strict=True)]
    torch.testing.assert_close(pool(all_of_them, mask), torch.stack(expected), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", poolings())
def test_the_order_of_views_does_not_matter(name: str) -> None:
    torch.manual_seed(0)
    pool, views, order = pooling(name), features(4, 5), torch.tensor([3, 0, 4, 1, 2])
    mask = torch.rand(4, 5) > 0.3
    mask[:, 0] = True
    views = views * mask.unsqueeze(2)
    torch.testing.assert_close(pool(views[:, order], mask[:, order]), pool(views, mask))


@pytest.mark.parametrize("name", poolings())
def test_one_view_is_itself(name: str) -> None:
    alone = features(4, 1)
    assert torch.equal(pooling(name)(alone, None), alone[:, 0])


def test_what_they_compute() -> None:
    views = torch.tensor([[[1.0, 5.0], [3.0, -1.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, True, False]])
    assert make_pooling("mean", 2)(views, mask).tolist() == [[2.0, 2.0]]
    assert make_pooling("max", 2)(-views, mask).tolist() == [[-1.0, 1.0]]
    attention = AttentionPooling(2)
    torch.testing.assert_close(attention(views, mask), torch.tensor([[2.0, 2.0]]))  # begins as the mean
    with torch.no_grad():
        attention.content.weight.copy_(torch.tensor([[9.0, 0.0], [0.0, 0.0]]))
        attention.gate.bias.fill_(9.0)
        attention.score.weight.copy_(torch.tensor([[1.0, 0.0]]))
        attention.content.bias.zero_()
        attention.content.weight[0, 0] = -9.0  # the first number speaks against a view
    shares = attention.weights(torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]]), mask)
    torch.testing.assert_close(
        shares, torch.tensor([[-1.0, 1.0, -torch.inf]]).softmax(dim=1), atol=1e-3, rtol=0
    )


def test_attention_learns_which_view_tells() -> None:
    """Of three views in random order, the one that is marked has the sign of the label, the others any."""
    torch.manual_seed(0)
    sign = torch.randint(0, 2, (256,)) * 2.0 - 1
    views, telling = torch.randn(256, 3, WIDTH), (torch.arange(256), torch.randint(0, 3, (256,)))
    views[:, :, 0] *= 3
    views[:, :, 1] = 0
    views[(*telling, 0)], views[(*telling, 1)] = sign, 2.0

    def accuracy(name: str) -> float:
        pool, head = make_pooling(name, WIDTH), nn.Linear(WIDTH, 1)
        parameters = (
            [*pool.parameters(), *head.parameters()] if isinstance(pool, nn.Module) else head.parameters()
        )
        optimizer = torch.optim.Adam(parameters, lr=0.02)
        for _ in range(200):
            loss = F.soft_margin_loss(head(pool(views, None)).squeeze(1), sign)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float((head(pool(views, None)).squeeze(1).sign() == sign).float().mean())

    assert accuracy("attention") > 0.95
    assert accuracy("mean") < 0.75


def test_unknown_names() -> None:
    with pytest.raises(
        ValueError, match="pooled by mean, max, attention, not 'atention'; did you mean 'attention'"
    ):
        make_pooling("atention", 3)
