from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data import refresh
from unfreeze.data.refresh import view_epoch, view_epochs
from unfreeze.data.seeds import derive_seed

SEEDS = st.integers(0, 2**64 - 1)
EPOCHS = st.integers(1, 12)
SHARES = st.one_of(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.floats(0, 1))


def walked_back(seed: int, epoch: int, index: int, share: float) -> int:
    """In plain words: one draw per epoch and clip, in order of the clips, as NumPy's generator gives them."""
    for earlier in range(epoch, 1, -1):
        random = np.random.Generator(np.random.PCG64(derive_seed(seed, earlier, 0, refresh._STREAM)))
        if random.random(index + 1)[index] < share:
            return earlier
    return 1


@given(SEEDS, EPOCHS, st.integers(0, 40), SHARES)
def test_one_clip_is_as_among_many_and_as_walked_back(seed, epoch, count, share):
    together = view_epochs(seed, epoch, count, share).tolist()
    assert together == [view_epoch(seed, epoch, index, share) for index in range(count)]
    assert together == [walked_back(seed, epoch, index, share) for index in range(count)]


@given(SEEDS, EPOCHS, st.integers(0, 40), st.integers(0, 40), SHARES)
def test_more_clips_change_nothing_for_those_before_them(seed, epoch, count, more, share):
    some, all_of_them = (view_epochs(seed, epoch, n, share) for n in (count, count + more))
    assert some.tolist() == all_of_them[:count].tolist()


@given(SEEDS, st.integers(2, 12), SHARES)
def test_a_clip_is_drawn_anew_or_as_in_the_epoch_before(seed, epoch, share):
    now, before = view_epochs(seed, epoch, 50, share), view_epochs(seed, epoch - 1, 50, share)
    assert ((now == epoch) | (now == before)).all()


@given(SEEDS, EPOCHS, SHARES, SHARES)
def test_what_is_anew_with_less_is_anew_with_more(seed, epoch, one, other):
    less, more = (view_epochs(seed, epoch, 50, share) for share in sorted((one, other)))
    assert (less <= more).all()
    assert (more[less == epoch] == epoch).all()


@given(SEEDS, SHARES)
def test_in_the_first_epoch_all_are_of_the_first(seed, share):
    assert view_epochs(seed, 1, 20, share).tolist() == [1] * 20


@given(SEEDS, EPOCHS)
def test_none_or_all(seed, epoch):
    assert view_epochs(seed, epoch, 20, 0.0).tolist() == [1] * 20
    assert view_epochs(seed, epoch, 20, 1.0).tolist() == [epoch] * 20
    assert (view_epoch(seed, epoch, 3, 0.0), view_epoch(seed, epoch, 3, 1.0)) == (1, epoch)


@given(SEEDS, st.permutations(range(1, 9)), SHARES)
def test_epochs_may_be_asked_in_any_order(seed, order, share):
    """So that a run that goes on in the middle sees what it would have seen."""
    in_order = {epoch: view_epochs(seed, epoch, 20, share).tolist() for epoch in range(1, 9)}
    assert {epoch: view_epochs(seed, epoch, 20, share).tolist() for epoch in order} == in_order


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.9])
def test_the_share_of_clips_that_are_anew(share):
    count = 20_000
    for epoch in (2, 3, 17, 100):
        anew = (view_epochs(7, epoch, count, share) == epoch).mean()
        assert abs(anew - share) < 4 * (share * (1 - share) / count) ** 0.5


def test_clips_epochs_and_seeds_are_drawn_apart():
    def anew(seed: int, epoch: int) -> np.ndarray:
        return view_epochs(seed, epoch, 20_000, 0.5) == epoch

    first = anew(0, 2)
    for other in (anew(0, 3), anew(1, 2), np.roll(first, 1)):
        assert abs((first == other).mean() - 0.5) < 0.02


def test_another_process_draws_the_same():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(view_epochs, (3, 6, 30, 0.3))
    assert found.tolist() == view_epochs(3, 6, 30, 0.3).tolist()


def test_what_was_drawn_once_is_drawn_for_ever():
    """A run is resumed, and activations are found again, by later versions."""
    assert view_epochs(0, 5, 12, 0.3).tolist() == [1, 1, 5, 3, 5, 2, 4, 5, 2, 2, 5, 3]
