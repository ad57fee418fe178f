"""Mixing: every clip gets a partner and what labels claim of it is what pixels show."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.training.mixing import Mix, Mixing, mixed

KINDS = {"mixup": Mixing(0.4, 0, 3), "cutmix": Mixing(0, 1.0, 3), "both": Mixing(0.8, 1.0, 3)}


def drawn(mixing: Mixing, batch_size: int, count: int) -> list[Mix]:
    mixes = [mixing.draw(1, step, batch_size) for step in range(1, count + 1)]
    assert all(mix is not None for mix in mixes)
    return mixes


def clips(batch: int, views: int = 1, side: tuple[int, int] = (6, 9)) -> torch.Tensor:
    """View v of clip b is everywhere 10 b + v + 1."""
    values = 10.0 * torch.arange(batch)[:, None] + torch.arange(views) + 1
    return values[:, :, None, None, None, None].expand(batch, views, 3, 2, *side).clone()


def test_nothing_is_mixed_where_nothing_is_asked_for_or_there_is_no_partner():
    assert Mixing(0, 0, 0).draw(1, 1, 8) is None
    assert Mixing(1.0, 1.0, 0).draw(1, 1, 1) is None


@pytest.mark.parametrize("kind", KINDS)
@given(batch_size=st.integers(2, 9), step=st.integers(1, 10_000))
def test_everyone_has_one_partner_and_nobody_is_their_own(kind, batch_size, step):
    partner = KINDS[kind].draw(1, step, batch_size).partner.tolist()
    assert sorted(partner) == list(range(batch_size))
    assert all(own != other for own, other in enumerate(partner))


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_is_a_pure_function_that_the_global_generator_does_not_notice(kind):
    keys = [(1, 1, 8), (1, 2, 8), (2, 1, 8), (1, 1, 8, 8)]
    before = torch.get_rng_state()
    shares = [KINDS[kind].draw(*key).share for key in keys]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again = [KINDS[kind].draw(*key).share for key in reversed(keys)]
    assert shares == again[::-1]
    assert len(set(shares)) == 4
    assert Mixing(KINDS[kind].mixup, KINDS[kind].cutmix, seed=4).draw(*keys[0]).share != shares[0]


def test_both_is_one_or_the_other_equally_often():
    boxes = [mix.box is not None for mix in drawn(KINDS["both"], 4, 400)]
    assert 160 < sum(boxes) < 240
    assert all(mix.box is None for mix in drawn(KINDS["mixup"], 4, 20))
    assert all(mix.box is not None for mix in drawn(KINDS["cutmix"], 4, 20))


def test_shares_of_mixup_follow_the_beta_distribution():
    shares = torch.tensor([mix.share for mix in drawn(Mixing(0.4, 0, 0), 2, 2000)], dtype=torch.float64)
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(0.25 / (2 * 0.4 + 1), abs=0.01)  # of Beta(α, α)


@pytest.mark.parametrize("kind", KINDS)
@given(step=st.integers(1, 10_000), height=st.integers(1, 40), width=st.integers(1, 40))
def test_the_share_of_the_label_is_that_of_the_pixels(kind, step, height, width):
    mix = KINDS[kind].draw(1, step, 2)
    own = torch.tensor([1.0, 0.0], dtype=torch.float64)[:, None, None, None, None, None]
    out = mix.video(own.expand(2, 1, 1, 1, height, width))
    assert out[0].mean().item() == pytest.approx(mix.share, abs=1e-6)
    assert out[1].mean().item() == pytest.approx(1 - mix.share, abs=1e-6)


def test_mixup_blends_and_the_batch_stays_as_it_is():
    video = clips(3)
    kept = video.clone()
    out = Mix(torch.tensor([2, 0, 1]), 0.75).video(video)
    expected = torch.tensor([0.75 * 1 + 0.25 * 21, 0.75 * 11 + 0.25 * 1, 0.75 * 21 + 0.25 * 11])
    torch.testing.assert_close(out, expected[:, None, None, None, None, None].expand_as(video))
    assert torch.equal(video, kept)


def test_cutmix_puts_the_same_rectangle_into_every_frame():
    noise = torch.rand(2, 2, 3, 5, 8, 12, generator=torch.Generator().manual_seed(0))
    out = Mix(torch.tensor([1, 0]), 0.75, (0.25, 0.75, 0.5, 1.0)).video(noise)
    expected = noise.clone()
    expected[..., 2:6, 6:12] = noise[[1, 0]][..., 2:6, 6:12]
    assert torch.equal(out, expected)


@pytest.mark.parametrize(
    ("own", "partner", "expected"),  # which view of the partner goes into each view; None: stays as it is
    [
        ([1, 1, 1], [1, 1, 1], [0, 1, 2]),
        ([1, 1, 0], [1, 1, 1], [0, 1, None]),
        ([1, 1, 1], [1, 1, 0], [0, 1, 0]),
        ([1, 1, 1], [0, 1, 0], [1, 1, 1]),
        ([0, 1, 1], [1, 0, 1], [None, 0, 2]),
    ],
)
def test_a_view_is_mixed_with_a_view_of_the_partner_and_never_with_padding(own, partner, expected):
    mask = torch.tensor([own, partner], dtype=torch.bool)
    video = torch.where(mask[:, :, None, None, None, None], clips(2, views=3), 0.0)
    out = Mix(torch.tensor([1, 0]), 0.5).video(video, mask)
    for view, other in enumerate(expected):
        value = 0.0 if other is None else (video[0, view, 0, 0, 0, 0] + video[1, other, 0, 0, 0, 0]) / 2
        assert (out[0, view] == value).all()
    assert torch.equal(out[~mask], video[~mask])


@given(views=st.lists(st.integers(1, 3), min_size=2, max_size=6), step=st.integers(1, 1000))
def test_rows_are_mixed_as_the_clips_they_come_from(views, step):
    mix = KINDS["mixup"].draw(1, step, len(views))
    mask = torch.arange(max(views)) < torch.tensor(views)[:, None]
    video = clips(len(views), max(views), side=(1, 2))
    assert torch.equal(mix.rows(video[mask], mask), mix.video(video, mask)[mask])


@pytest.mark.parametrize("kind", KINDS)
def test_without_padding_the_mask_makes_no_difference(kind):
    for mix in drawn(KINDS[kind], 4, 5):
        video = torch.rand(4, 2, 3, 2, 5, 7)
        assert torch.equal(mix.video(video, torch.ones(4, 2, dtype=torch.bool)), mix.video(video))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_format_is_kept(dtype):
    for kind in KINDS.values():
        assert kind.draw(1, 1, 2).video(clips(2).to(dtype)).dtype == dtype


def test_labels_are_the_partners_whatever_their_kind():
    labels = {"one": torch.tensor([0, -1, 2]), "many": torch.tensor([[1, 0], [-1, -1], [0, 1]])}
    partners = Mix(torch.tensor([1, 2, 0]), 0.6).labels(labels)
    assert partners["one"].tolist() == [-1, 2, 0]
    assert partners["many"].tolist() == [[-1, -1], [0, 1], [1, 0]]


def test_masked_labels_contribute_nothing_and_every_other_counts_once():
    """Against the loss of every clip on its own, with soft targets where both labels are known."""
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = torch.tensor([0, -1, 2, -1])
    mix = Mix(torch.tensor([2, 0, 3, 1]), 0.7)
    partner = mix.labels({"task": own})["task"]
    assert partner.tolist() == [2, 0, -1, -1]

    def total(labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"task": F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")}

    log_p = logits.log_softmax(1)
    terms = [(0.7, log_p[0, 0]), (0.3, log_p[0, 2]), (0.3, log_p[1, 0]), (0.7, log_p[2, 2])]
    expected = -sum(weight * term for weight, term in terms)
    torch.testing.assert_close(mixed(total(own), total(partner), mix.share)["task"], expected)
    assert sum(weight for weight, _ in terms) == pytest.approx((own >= 0).sum().item())


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_has_as_many_labels_as_before(kind):
    labels = {"one": torch.tensor([0, -1, 2, -1, -1])}
    for mix in drawn(KINDS[kind], 5, 10):
        assert (mix.labels(labels)["one"] >= 0).sum() == 2
