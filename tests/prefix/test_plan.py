"""The plan against a plain reference that tries every sequence, and what holds of any plan."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.prefix.costs import Costs, Profile
from unfreeze.prefix.plan import Plan, Stretch, plan


def costs(seconds, nbytes=None, *, decode=1.0, read=0.0, write=0.0, suffix=()):
    """Of blocks that take ``seconds``; what follows the last one takes 1."""
    blocks = len(seconds)
    return Costs(
        decode, Profile((*seconds, 1.0), (0,) * blocks, (0, *(nbytes or (1,) * blocks))), read, write, suffix
    )


def epoch_seconds(b, c, c0, *, train, val, refresh, cost, first, room):
    """One epoch as a person would write it down: each kind of row, each thing that happens to it."""
    decode, through, read, write = cost.decode, cost.profile.forward, cost.fetch, cost.keep
    if c == 0:
        return (train + val) * (decode + through(0, b))
    behind = through(c, b)
    anew = decode + through(0, c)
    below = 0 < c0 < c and room(c0, c)
    fresh = (0.0 if c0 == c or below else 1.0) if first else refresh
    if c == c0:
        old, kept = read(c), fresh * write(c)
        validation = read(c)
    elif below:
        old, kept = read(c0) + through(c0, c), write(c)
        validation = old + kept
    else:
        old, kept = anew, write(c)
        validation = old + kept
    seconds = val * (validation + behind)
    if train:
        seconds += train * (fresh * anew + (1 - fresh) * old + kept + behind)
    return seconds


def every_way(boundaries, *, train_rows, val_rows, refresh, costs, filled, allowed, limit, started):
    """Seconds of the best of all sequences, by trying them; training rows kept or not."""
    best = None
    for kept in (0, train_rows):

        def room(*at, kept=kept):
            return limit is None or (kept + val_rows) * sum(costs.profile.nbytes[c] for c in at) <= limit

        choices = [
            [0, *(c for c in range(1, b + 1) if (allowed is None or c in allowed) and room(c))]
            if kept + val_rows
            else [0]
            for b in boundaries
        ]
        for path in itertools.product(*choices):
            seconds, c0 = 0.0, filled
            for epoch, (b, c) in enumerate(zip(boundaries, path, strict=True)):
                seconds += epoch_seconds(
                    b, c, c0, train=kept, val=val_rows, refresh=refresh, cost=costs,
                    first=epoch == 0 and not started, room=room,
                )  # fmt: skip
                seconds += (train_rows - kept) * (costs.decode + costs.profile.forward(0, b))
                seconds += costs.behind(b)
                c0 = c
            fills = sum(a != b > 0 for a, b in itertools.pairwise((filled, *path)))
            candidate = (round(seconds * 2**16), kept > 0, fills, tuple(-c for c in path))
            best = candidate if best is None else min(best, candidate)
    return best


@st.composite
def cases(draw, blocks=4, epochs=4):
    """Costs in 16ths and shares in quarters: sums are exact, in nanoseconds too, so that ties are ties."""
    number = st.integers(0, 16).map(lambda n: n / 16)
    n = draw(st.integers(1, blocks))
    cost = costs(
        draw(st.lists(number, min_size=n, max_size=n)),
        draw(st.lists(st.integers(1, 8), min_size=n, max_size=n)),
        decode=draw(number),
        read=draw(number) / 4,
        write=draw(number) / 4,
        suffix=draw(st.lists(number, min_size=n + 1, max_size=n + 1)),
    )
    return {
        "boundaries": draw(st.lists(st.integers(0, n), min_size=1, max_size=epochs)),
        "train_rows": draw(st.integers(0, 5)),
        "val_rows": draw(st.integers(0, 3)),
        "refresh": draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])),
        "costs": cost,
        "filled": draw(st.integers(0, n)),
        "allowed": draw(st.none() | st.sets(st.integers(1, n))),
        "limit": draw(st.none() | st.integers(0, 80)),
        "started": draw(st.booleans()),
    }


def planned(case) -> Plan:
    return plan(case["boundaries"], **{key: value for key, value in case.items() if key != "boundaries"})


@given(cases())
def test_it_is_the_best_of_all_ways(case):
    found = planned(case)
    ticks, training, fills, depths = every_way(**case)
    assert round(found.seconds * 2**16) == ticks
    if any(found.cached):
        assert found.training == training
    assert sum(stretch.source != stretch.boundary > 0 for stretch in found.stretches) == fills
    assert found.cached == tuple(-depth for depth in depths)


@given(cases(blocks=8, epochs=12))
def test_never_slower_than_no_cache_never_behind_what_trains_and_within_the_limit(case):
    found = planned(case)
    assert found.seconds <= found.naive
    assert 0 <= found.share <= 1
    assert len(found.cached) == len(case["boundaries"])
    assert all(0 <= c <= b for c, b in zip(found.cached, case["boundaries"], strict=True))
    if case["limit"] is not None:
        assert found.bytes <= case["limit"]
    if case["allowed"] is not None:
        assert set(found.cached) <= {0, *case["allowed"]}
    assert sum(stretch.epochs for stretch in found.stretches) == len(found.cached)
    assert planned(case) == found


@given(cases(blocks=6, epochs=8), st.integers(0, 7), st.integers(1, 3))
def test_more_epochs_at_a_boundary_never_make_caching_less_attractive(case, where, more):
    case |= {"filled": 0}
    where %= len(case["boundaries"])
    there = case["boundaries"]
    longer = [*there[: where + 1], *[there[where]] * more, *there[where + 1 :]]
    assert planned(case | {"boundaries": longer}).saved >= planned(case).saved - 1e-6


@given(cases(blocks=6, epochs=8))
def test_nothing_is_kept_for_training_if_every_view_is_new(case):
    case |= {"refresh": 1.0, "filled": 0}
    found = planned(case)
    assert not found.training
    if not case["val_rows"]:
        assert not any(found.cached)
        assert found.bytes == 0


@given(cases(blocks=6, epochs=8))
def test_what_lies_behind_the_boundary_counts_in_totals_and_changes_nothing(case):
    found = planned(case)
    bare = planned(case | {"costs": replace(case["costs"], suffix=())})
    assert (bare.cached, bare.training, bare.bytes) == (found.cached, found.training, found.bytes)
    assert bare.saved == pytest.approx(found.saved)


FOUR = costs([1, 1, 1, 1], [8, 4, 2, 1])
ROWS = {"train_rows": 10, "val_rows": 5, "refresh": 0.0, "costs": FOUR}
STORE = costs([1, 1, 1, 1], [8, 4, 2, 1], write=0.5)


@pytest.mark.parametrize(
    ("boundaries", "changed", "cached", "kept"),
    [
        # one epoch has nothing to read
        ([4], {}, [0], False),
        ([0, 0, 0], {}, [0, 0, 0], False),
        ([2, 2, 2], {}, [2, 2, 2], True),
        # known from the start: one cache at the floor, not one per boundary
        ([4, 3, 2, 2, 2, 2], {}, [2] * 6, True),
        # a long stay pays for a cache of its own, and the old one makes the new
        ([2, 4, 4, 4, 4, 4, 4], {}, [2, 4, 4, 4, 4, 4, 4], True),
        ([4] * 9 + [1] * 2, {}, [4] * 9 + [1] * 2, True),
        # what thaws for good leaves nothing to keep
        ([3, 3, 3, 0, 0], {}, [3, 3, 3, 0, 0], True),
        # reading a byte takes as long as computing it
        ([1, 1, 1], {"costs": costs([1, 1, 1, 1], read=9.0)}, [0, 0, 0], False),
        # only the small activations are cheap enough
        ([4, 4, 4], {"costs": costs([1, 1, 1, 1], [90, 90, 90, 1], read=0.1)}, [4, 4, 4], True),
        # every view is new: validation alone
        ([3, 3, 3], {"refresh": 1.0, "costs": STORE}, [3, 3, 3], False),
        ([3, 3, 3], {"refresh": 1.0, "costs": STORE, "val_rows": 0}, [0, 0, 0], False),
        ([3, 3, 3], {"refresh": 0.25, "costs": STORE}, [3, 3, 3], True),
        # a warm cache is worth reading even once
        ([4], {"filled": 4}, [4], True),
        ([4, 2], {"filled": 2}, [2, 2], True),
        ([1, 1], {"filled": 3}, [1, 1], True),
        # only where the model can be cut
        ([4, 4, 4], {"allowed": {1, 3}}, [3, 3, 3], True),
        ([4, 4, 4], {"allowed": ()}, [0, 0, 0], False),
        # 15 rows of 8, 4, 2, 1 bytes
        ([2, 2, 2], {"limit": 60}, [2, 2, 2], True),
        # ... and 5 of validation alone
        ([2, 2, 2], {"limit": 59}, [2, 2, 2], False),
        ([2, 2, 2], {"limit": 19}, [0, 0, 0], False),
        ([4, 4, 4], {"limit": 15}, [4, 4, 4], True),
        ([], {}, [], False),
    ],
)
def test_a_table(boundaries, changed, cached, kept):
    found = plan(boundaries, **ROWS | changed)
    assert found.cached == tuple(cached)
    assert found.training == kept


def test_of_ways_that_take_equally_long_the_one_with_fewer_caches_to_fill_then_the_higher_boundary():
    free = {"train_rows": 1, "val_rows": 1, "refresh": 0.0}
    # blocks 2 and 3 cost nothing, so boundaries 2, 3 and 4 spare the same
    assert plan([4, 4, 4], costs=costs([1, 1, 0, 0]), **free).cached == (4, 4, 4)
    assert plan([4, 2, 4], costs=costs([1, 1, 0, 0]), **free).cached == (2, 2, 2)
    # nothing costs anything: nothing is kept
    assert plan([4, 4], costs=costs([0, 0, 0, 0], decode=0.0), **free).cached == (0, 0)


def test_seconds_by_hand():
    """10 training rows, 5 validation rows, 2 blocks frozen of 1 s, decoding 1 s, 4 bytes of 1/8 s."""
    cost = costs([1, 1, 1, 1], [8, 4, 2, 1], read=1 / 8, write=1 / 8, suffix=[0, 0, 100, 0, 0])
    found = plan([2, 2, 2], train_rows=10, val_rows=5, refresh=0.5, costs=cost)
    assert found.naive == 3 * (15 * 3 + 100)
    fill = 15 * (3 + 0.5)
    later = 5 * 3.5 + 5 * 0.5 + 5 * 0.5
    assert found.seconds == pytest.approx(fill + 2 * later + 300)
    assert found.saved == pytest.approx(3 * 45 - fill - 2 * later)
    assert found.share == pytest.approx(found.saved / found.naive)
    assert found.bytes == found.wanted == 15 * 4


def test_while_a_cache_is_made_from_another_both_take_room():
    boundaries = [2, 2, 3, 3, 3, 3]
    both = plan(boundaries, **ROWS)
    assert both.stretches == (Stretch(0, 2, 2, 0), Stretch(2, 4, 3, 2))
    assert both.bytes == 15 * (4 + 2)
    # with room for one at a time, the new one is made from the clips
    one = plan(boundaries, limit=15 * 4, **ROWS)
    assert one.bytes <= 15 * 4
    assert one.wanted == both.bytes
    assert one.saved < both.saved
    assert all(stretch.source in (0, stretch.boundary) for stretch in one.stretches)


def test_a_plan_made_half_way_goes_on_with_the_cache_that_is_there():
    going = {"filled": 3, "started": True}
    assert plan([2, 2, 2, 2], **ROWS | going).stretches == (Stretch(0, 4, 2, 0),)
    assert plan([4], **ROWS | going).stretches == (Stretch(0, 1, 3, 3),)
    rise = plan([4] * 9, **ROWS | going)
    assert rise.stretches == (Stretch(0, 9, 4, 3),)
    # a share is drawn anew in its first epoch too: (1 + 3) s each, the others are read for nothing
    again = plan([3], **ROWS | going | {"refresh": 0.5})
    assert again.seconds == 10 * 0.5 * 4
    assert plan([3], **ROWS | {"filled": 3, "refresh": 0.5}).seconds == 0


@pytest.mark.parametrize(
    ("boundaries", "changed", "message"),
    [
        ([5], {}, "a boundary is from 0 to 4, the number of blocks, not 5"),
        ([1], {"filled": -1}, "a boundary is from 0 to 4, the number of blocks, not -1"),
        ([1], {"refresh": 1.5}, "refresh is a share from 0 to 1, not 1.5"),
    ],
)
def test_what_cannot_be(boundaries, changed, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        plan(boundaries, **ROWS | changed)


def test_a_profile_has_numbers_that_belong_together():
    with pytest.raises(ValueError, match="a profile of 2 blocks has one number more in seconds"):
        Profile((1.0, 1.0), (1, 1), (0, 1, 1))
