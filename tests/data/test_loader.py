from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data import ClipDataset, ClipLoader, Sample, VideoError, View, make_loader
from unfreeze.data.loader import epoch_batches
from unfreeze.preprocessing import Preprocessing

SMALL = Preprocessing(frames=2, resize=16, crop=(16, 16), mean=(0.5,) * 3, std=(0.2,) * 3)


@pytest.fixture(scope="module")
def samples(tmp_path_factory, write_video) -> list[Sample]:
    root = tmp_path_factory.mktemp("clips")
    return [
        Sample(
            (View(write_video(root / f"{i}.mp4", 8, size=(16, 16))),),
            "train",
            {"a": i % 2, "b": None if i % 3 else 2},
        )
        for i in range(7)
    ]


def loader_of(samples, *, train=True, workers=0, batch_size=3, seed=0) -> ClipLoader:
    dataset = ClipDataset(samples, ["a", "b"], SMALL, train=train, seed=seed)
    return make_loader(dataset, batch_size=batch_size, workers=workers)


def epoch_of(loader: ClipLoader, epoch: int) -> list[dict]:
    loader.set_epoch(epoch)
    return list(loader)


def test_a_batch(samples):
    batch = epoch_of(loader_of(samples, train=False), 1)[0]
    assert batch["video"].shape == (3, 1, 3, 2, 16, 16)
    assert batch["labels"]["a"].tolist() == [0, 1, 0]
    assert batch["labels"]["b"].tolist() == [2, -1, -1]
    assert batch["labels"]["b"].dtype == torch.int64
    assert batch["index"].tolist() == [0, 1, 2]


def test_workers_that_live_on_give_the_batches_of_a_single_process(samples):
    alone, helped = loader_of(samples), loader_of(samples, workers=2)
    for epoch in (1, 2, 5):
        expected, found = epoch_of(alone, epoch), epoch_of(helped, epoch)
        assert len(expected) == len(found) == len(alone)
        for a, b in zip(expected, found, strict=True):
            assert torch.equal(a["video"], b["video"])
            assert torch.equal(a["index"], b["index"])
            assert a["labels"].keys() == b["labels"].keys()
            assert all(torch.equal(a["labels"][task], b["labels"][task]) for task in a["labels"])


def test_an_epoch_does_not_depend_on_those_before(samples):
    through = loader_of(samples)
    epoch_of(through, 1)
    fresh = loader_of(samples)
    for a, b in zip(epoch_of(through, 4), epoch_of(fresh, 4), strict=True):
        assert torch.equal(a["video"], b["video"])


def test_epochs_and_seeds_differ_in_order_and_content(samples):
    def order(**options) -> list[int]:
        epoch = options.pop("epoch")
        return torch.cat([b["index"] for b in epoch_of(loader_of(samples, **options), epoch)]).tolist()

    orders = [order(epoch=1), order(epoch=2), order(epoch=1, seed=1)]
    assert all(sorted(o) == list(range(7)) for o in orders)
    assert len(set(map(tuple, orders))) == 3
    assert order(epoch=3, train=False) == list(range(7))


def test_the_global_generator_does_not_notice(samples):
    before = torch.get_rng_state()
    epoch_of(loader_of(samples), 1)
    assert torch.equal(torch.get_rng_state(), before)


@given(count=st.integers(0, 60), size=st.integers(1, 12), epoch=st.integers(1, 5), shuffle=st.booleans())
def test_batches_hold_every_clip_once_and_no_lone_one(count, size, epoch, shuffle):
    batches = epoch_batches(count, size, seed=0, epoch=epoch, shuffle=shuffle)
    assert sorted(i for batch in batches for i in batch) == list(range(count))
    assert len(batches) == -(-count // size)
    assert all(1 <= len(batch) <= size for batch in batches)
    if shuffle and size > 2 and count > 1:
        assert all(len(batch) > 1 for batch in batches)
    if not shuffle:
        assert [i for batch in batches for i in batch] == list(range(count))
        assert all(len(batch) == size for batch in batches[:-1])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_arrives_as_one_line_that_names_it(samples, workers):
    bad = [*samples[:2], Sample((View(Path("gone.mp4")),), "train", {"a": 0, "b": 0})]
    loader = loader_of(bad, workers=workers, batch_size=2)
    found = None
    try:  # pytest.raises would keep the traceback, and with it the workers
        epoch_of(loader, 1)
    except Exception as error:
        found = (type(error), str(error))
    assert found == (VideoError, "gone.mp4: no such file; name a video file")


def test_after_an_error_the_workers_end_with_their_loader(samples):
    before = set(multiprocessing.active_children())
    loader = loader_of([*samples[:3], Sample((View(Path("gone.mp4")),), "train", {})], workers=1)
    gc.disable()
    try:
        with suppress(VideoError):
            epoch_of(loader, 1)
        assert set(multiprocessing.active_children()) != before
        del loader
        assert set(multiprocessing.active_children()) == before
    finally:
        gc.enable()


def test_an_interrupt_from_the_terminal_does_not_kill_the_workers(samples):
    loader = loader_of(samples, workers=2, batch_size=1)
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    for _ in range(2):  # one of each worker, which is on its feet then
        next(batches)
    for worker in set(multiprocessing.active_children()) - before:
        os.kill(worker.pid, signal.SIGINT)
    assert len(list(batches)) == 5


def test_a_batch_holds_a_clip_at_least(samples):
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        loader_of(samples, batch_size=0)


def views_of(samples, *counts: int) -> list[Sample]:
    """Samples of so many views each, labelled in two tasks, one of them multi-label."""
    view = samples[0].views[0]
    return [
        Sample((view,) * count, "val", {"a": i, "b": (i,) if i % 2 else None})
        for i, count in enumerate(counts)
    ]


def evaluation_batch(samples, **options) -> dict:
    classes = {"a": ("x", "y", "z"), "b": ("x", "y", "z")}
    dataset = ClipDataset(samples, classes, SMALL, train=False, multilabel=frozenset({"b"}), **options)
    return epoch_of(make_loader(dataset, batch_size=3), 1)[0]


def test_missing_views_are_zeros_that_the_mask_names(samples):
    batch = evaluation_batch(views_of(samples, 2, 1, 3))
    assert batch["video"].shape == (3, 3, 3, 2, 16, 16)
    assert batch["view_mask"].tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert batch["view_mask"].dtype == torch.bool
    assert not batch["video"][~batch["view_mask"]].any()
    assert batch["video"][batch["view_mask"]].flatten(1).any(1).all()


def test_single_views_need_no_mask(samples):
    assert epoch_of(loader_of(samples), 1)[0]["view_mask"].tolist() == [[True]] * 3


def test_labels_of_several_classes_in_a_batch(samples):
    batch = evaluation_batch(views_of(samples, 1, 1, 1))
    assert batch["labels"]["a"].tolist() == [0, 1, 2]
    assert batch["labels"]["b"].tolist() == [[-1, -1, -1], [0, 1, 0], [-1, -1, -1]]


def test_copies_of_a_sample_follow_each_other(samples):
    several = views_of(samples, 2, 1)
    batch = evaluation_batch(several, eval_clips=2, eval_crops=3)
    assert batch["video"].shape == (12, 2, 3, 2, 16, 16)
    assert batch["view_mask"].tolist() == [[True, True]] * 6 + [[True, False]] * 6
    assert batch["index"].tolist() == [0, 1]
    assert batch["labels"]["a"].tolist() == [0, 1]
    alone = evaluation_batch(several[1:], eval_clips=2, eval_crops=3)
    assert torch.equal(batch["video"].unflatten(0, (2, 6))[1, :, :1], alone["video"])


def test_weights_draw_with_replacement(samples):
    dataset = ClipDataset(samples, [], SMALL, train=True)
    loader = make_loader(dataset, batch_size=3, weights=[0, 0, 1, 1, 0, 0, 0])
    drawn = torch.cat([batch["index"] for batch in epoch_of(loader, 1)]).tolist()
    assert len(drawn) == len(samples)
    assert set(drawn) == {2, 3}
    assert len(list(loader)) == len(loader)


@pytest.mark.parametrize("count", [7, 8, 10])
def test_processes_share_the_batches_out(samples, monkeypatch, count):
    shares = []
    for rank in (0, 1, 2):
        monkeypatch.setattr("unfreeze.data.loader._place", lambda rank=rank: (rank, 3))
        dataset = ClipDataset([samples[0]] * count, [], SMALL, train=True)
        loader = make_loader(dataset, batch_size=3)
        shares.append([batch["index"].tolist() for batch in epoch_of(loader, 2)])
        assert len(shares[-1]) == len(loader)
    assert len({tuple(map(len, share)) for share in shares}) == 1  # all take equally many steps
    taken = [index for share in shares for batch in share for index in batch]
    assert set(taken) == set(range(count))
    assert len(taken) - count < 3


def test_this_process_is_found_among_those_of_torch_distributed(samples, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        assert len(epoch_of(loader_of(samples), 1)) == 3
    finally:
        torch.distributed.destroy_process_group()
