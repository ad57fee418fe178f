import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.order import epoch_order
from unfreeze.data.seeds import derive_seed


@given(count=st.integers(0, 60), seed=st.integers(0, 9), epoch=st.integers(1, 5), shuffle=st.booleans())
def test_without_weights_it_is_the_order_of_old(count, seed, epoch, shuffle):
    expected = list(range(count))
    if shuffle:
        generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
        expected = torch.randperm(count, generator=generator).tolist()
    assert epoch_order(count, seed=seed, epoch=epoch, shuffle=shuffle) == expected


@given(
    count=st.integers(1, 40),
    world=st.integers(1, 9),
    shuffle=st.booleans(),
    weighted=st.booleans(),
    epoch=st.integers(1, 3),
)
def test_the_shares_of_all_ranks_are_the_order_and_as_little_again_as_makes_them_even(
    count, world, shuffle, weighted, epoch
):
    weights = [1.0 + i % 3 for i in range(count)] if weighted and shuffle else None
    options = {"seed": 3, "epoch": epoch, "shuffle": shuffle, "weights": weights}
    whole = epoch_order(count, **options)
    shares = [epoch_order(count, **options, rank=rank, world=world) for rank in range(world)]
    if not shuffle:  # in evaluation no clip may count twice
        assert sorted(index for share in shares for index in share) == whole
        return
    assert {len(share) for share in shares} == {-(-count // world)}
    dealt = [share[place] for place in range(len(shares[0])) for share in shares]
    assert dealt[:count] == whole
    extra = dealt[count:]
    assert len(extra) < world
    assert extra == [whole[i % count] for i in range(len(extra))]


def test_clips_are_drawn_in_proportion_to_their_weights():
    weights = [1.0, 0.0, 2.0, 5.0]
    drawn = [
        i for epoch in range(2000) for i in epoch_order(4, seed=0, epoch=epoch, shuffle=True, weights=weights)
    ]
    share = np.bincount(drawn, minlength=4) / len(drawn)
    assert share == pytest.approx(np.array(weights) / 8, abs=0.02)
    assert share[1] == 0


@given(
    weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=30).filter(any),
    epoch=st.integers(1, 50),
)
def test_a_clip_of_weight_0_is_never_drawn(weights, epoch):
    drawn = epoch_order(len(weights), seed=0, epoch=epoch, shuffle=True, weights=weights)
    assert len(drawn) == len(weights)
    # a weight that vanishes beside the others may be lost in their sum; the reverse may not happen
    assert all(weights[i] > 0 for i in drawn)


def test_a_draw_is_pure_and_its_own_in_every_epoch():
    options = {"seed": 1, "shuffle": True, "weights": [1.0, 2.0] * 10}
    before = torch.get_rng_state()
    orders = [epoch_order(20, epoch=epoch, **options) for epoch in (1, 2, 1)]
    assert orders[0] == orders[2] != orders[1]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(type(index) is int for index in orders[0])


TWO_PROCESSES = """
import json, sys
import torch.distributed as dist
from unfreeze.data.order import epoch_order

rank, rendezvous, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
weights = [1.0] * 20 + [4.0] * 5
mine = [
    epoch_order(25, seed=7, epoch=epoch, shuffle=True, weights=each,
                rank=dist.get_rank(), world=dist.get_world_size())
    for epoch in (1, 2) for each in (None, weights)
]
gathered = [None, None]
dist.all_gather_object(gathered, mine)
if rank == 0:
    open(out, "w").write(json.dumps(gathered))
dist.destroy_process_group()
"""


def test_two_processes_take_their_shares_of_one_draw(tmp_path):
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    arguments = [str(tmp_path / "rendezvous"), str(tmp_path / "shares.json")]
    ranks = [
        subprocess.Popen([sys.executable, "-c", TWO_PROCESSES, str(rank), *arguments], env=environment)
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
    first, second = json.loads((tmp_path / "shares.json").read_text())
    weights = [1.0] * 20 + [4.0] * 5
    for number, (epoch, each) in enumerate((e, w) for e in (1, 2) for w in (None, weights)):
        whole = epoch_order(25, seed=7, epoch=epoch, shuffle=True, weights=each)
        assert len(first[number]) == len(second[number]) == 13
        # together they are the draw, and the one that makes them even
        assert Counter(first[number] + second[number]) == Counter([*whole, whole[0]])
        if each is None:
            assert set(first[number]) & set(second[number]) <= {whole[0]}
