"""Loaders that are told of what need not be decoded, next to one that decodes all."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data import ClipDataset, ClipLoader, Sample, VideoError, View, make_loader
from unfreeze.data.batch import Part, collate, collate_parts
from unfreeze.data.refresh import view_epochs
from unfreeze.preprocessing import Preprocessing

SMALL = Preprocessing(frames=2, resize=16, crop=(16, 16), mean=(0.5,) * 3, std=(0.2,) * 3)
CLASSES = {"motion": ("left", "right", "up"), "tags": ("a", "b", "c")}
SWAP = {"motion": {"left": "right"}, "tags": {"b": "c"}}
COPIES = {"train": False, "eval_clips": 2, "eval_crops": 3}


@pytest.fixture(scope="module")
def samples(tmp_path_factory, write_video) -> list[Sample]:
    """Eight, of one to three views; some labels are masked."""
    root = tmp_path_factory.mktemp("clips")
    views = [View(write_video(root / f"{i}.mp4", 8, size=(24, 20), noise=True)) for i in range(4)]
    views += [View(view.path, 0.3) for view in views]
    return [
        Sample(
            tuple(views[i : i + 1 + i % 3]),
            "train",
            {"motion": None if i == 2 else i % 3, "tags": None if i == 5 else tuple(range(i % 4))},
        )
        for i in range(8)
    ]


def dataset_of(samples, **options) -> ClipDataset:
    options = {"train": True, "flip": True, "seed": 5} | options
    return ClipDataset(
        samples, CLASSES, SMALL, flip_swap=SWAP, multilabel=frozenset({"tags"}), decoder="pyav", **options
    )


def epoch_of(loader: ClipLoader, epoch: int) -> list[dict]:
    loader.set_epoch(epoch)
    return list(loader)


def kept_of(kept: Callable[[int, int], bool], batch: dict) -> list[bool]:
    return [
        kept(index, version)
        for index, version in zip(batch["index"].tolist(), batch["version"].tolist(), strict=True)
    ]


def check(plain: dict, batch: dict, copies: int, kept: list[bool]) -> None:
    """``batch`` is what ``plain`` is, less the videos of what is kept."""
    assert torch.equal(batch["index"], plain["index"])
    assert torch.equal(batch["view_mask"], plain["view_mask"])
    assert batch["labels"].keys() == plain["labels"].keys()
    for task, labels in plain["labels"].items():
        assert torch.equal(batch["labels"][task], labels)
        assert batch["labels"][task].dtype == labels.dtype == torch.int64
    fresh = [place for place, one in enumerate(kept) if not one]
    assert batch["fresh"].tolist() == fresh
    assert batch["fresh"].dtype == batch["version"].dtype == torch.int64
    assert ("video" in batch) == bool(fresh)
    if fresh:
        video, mask = (plain[name].unflatten(0, (-1, copies))[fresh] for name in ("video", "view_mask"))
        expected = video[mask]
        assert torch.equal(batch["video"], expected)
        assert batch["video"].stride() == expected.stride()
        assert batch["video"].dtype == torch.float32


def some(index: int, version: int) -> bool:
    return (index + version) % 3 == 0


@pytest.mark.parametrize(
    "kept",
    [lambda i, v: False, lambda i, v: True, some, lambda i, v: i != 3],
    ids=["none", "all", "some", "all but one"],
)
@pytest.mark.parametrize("refresh", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("options", [{}, {"train": False}, COPIES])
def test_what_is_not_kept_is_as_ever(samples, kept, refresh, options):
    dataset = dataset_of(samples, **options)
    plain = make_loader(dataset, batch_size=3, refresh=refresh)
    loader = make_loader(dataset, batch_size=3, refresh=refresh, kept=kept)
    assert len(loader) == len(plain)
    for epoch in (1, 2, 4):
        versions = view_epochs(5, epoch, len(samples), refresh) if dataset.train else [1] * len(samples)
        for expected, batch in zip(epoch_of(plain, epoch), epoch_of(loader, epoch), strict=True):
            check(expected, batch, dataset.copies, kept_of(kept, batch))
            assert batch["version"].tolist() == [versions[i] for i in batch["index"].tolist()]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing_and_what_is_kept_may_change(samples, workers):
    """Asked in this process alone: what the function knows never reaches a worker."""
    main, known = os.getpid(), set()

    def kept(index: int, version: int) -> bool:
        assert os.getpid() == main
        return (index, version) in known

    dataset = dataset_of(samples)
    plain = make_loader(dataset, batch_size=3, refresh=0.5)
    loader = make_loader(dataset, batch_size=3, workers=workers, refresh=0.5, kept=kept)
    decoded = []
    for epoch in (1, 2, 3):
        decoded.append(0)
        shown = []
        for expected, batch in zip(epoch_of(plain, epoch), epoch_of(loader, epoch), strict=True):
            check(expected, batch, 1, kept_of(kept, batch))
            decoded[-1] += len(batch["fresh"])
            shown += zip(batch["index"].tolist(), batch["version"].tolist(), strict=True)
        known.update(shown)
    anew = [int((view_epochs(5, epoch, 8, 0.5) == epoch).sum()) for epoch in (1, 2, 3)]
    assert decoded == anew
    assert 0 < anew[1] < 8


def test_without_being_told_a_loader_is_as_it_was(samples):
    dataset = dataset_of(samples)
    found = epoch_of(make_loader(dataset, batch_size=3), 4)
    assert [list(batch) for batch in found] == [["video", "view_mask", "labels", "index"]] * 3
    for batch in found:
        indices = batch["index"].tolist()
        expected = collate([dataset[4, index] for index in indices])
        assert torch.equal(batch["video"], expected["video"])
        assert torch.equal(batch["view_mask"], expected["view_mask"])


def test_with_refresh_a_clip_is_as_in_the_epoch_of_its_draw(samples):
    dataset = dataset_of(samples)
    for batch in epoch_of(make_loader(dataset, batch_size=3, refresh=0.3), 5):
        versions = view_epochs(5, 5, 8, 0.3)[batch["index"]].tolist()
        expected = collate([dataset[key] for key in zip(versions, batch["index"].tolist(), strict=True)])
        assert torch.equal(batch["video"], expected["video"])
        assert torch.equal(batch["labels"]["motion"], expected["labels"]["motion"])


def test_refresh_does_not_touch_the_order(samples):
    loaders = [make_loader(dataset_of(samples), batch_size=3, refresh=share) for share in (0.0, 0.5, 1.0)]
    orders = [[batch["index"].tolist() for batch in epoch_of(loader, 3)] for loader in loaders]
    assert orders[0] == orders[1] == orders[2]


def test_a_clip_that_is_drawn_several_times(samples):
    options = {"batch_size": 4, "weights": [0, 0, 1, 1, 0, 1, 0, 0], "refresh": 0.5}
    plain = make_loader(dataset_of(samples), **options)
    loader = make_loader(dataset_of(samples), **options, kept=lambda index, version: index == 2)
    for epoch in (1, 3):
        batches = epoch_of(loader, epoch)
        for expected, batch in zip(epoch_of(plain, epoch), batches, strict=True):
            check(expected, batch, 1, [index == 2 for index in batch["index"].tolist()])
        assert len(set(torch.cat([batch["index"] for batch in batches]).tolist())) < 8


def test_what_is_kept_is_not_opened(samples):
    gone = [*samples[:3], Sample((View(Path("gone.mp4")),), "train", {"motion": 0, "tags": (1,)})]
    loader = make_loader(dataset_of(gone), batch_size=2, kept=lambda index, version: index == 3)
    assert sum(len(batch["fresh"]) for batch in epoch_of(loader, 1)) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_that_is_not_kept_arrives_as_one_line(samples, workers):
    before = set(multiprocessing.active_children())
    bad = [*samples[:3], Sample((View(Path("gone.mp4")),), "train", {"motion": 0, "tags": (1,)})]
    loader = make_loader(dataset_of(bad), batch_size=2, workers=workers, kept=lambda i, v: i != 3)
    found = None
    try:
        epoch_of(loader, 1)
    except Exception as error:
        found = (type(error), str(error))
    assert found == (VideoError, "gone.mp4: no such file; name a video file")
    gc.disable()
    try:
        with suppress(VideoError):
            epoch_of(loader, 1)
        del loader
        assert set(multiprocessing.active_children()) == before
    finally:
        gc.enable()


def test_the_global_generator_does_not_notice(samples):
    before = torch.get_rng_state()
    epoch_of(make_loader(dataset_of(samples), batch_size=3, refresh=0.5, kept=some), 2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("refresh", [-0.1, 1.5, float("nan")])
def test_a_share_is_from_0_to_1(samples, refresh):
    with pytest.raises(ValueError, match=f"refresh must be from 0 to 1, not {refresh}"):
        make_loader(dataset_of(samples), batch_size=3, refresh=refresh)


@pytest.mark.parametrize("options", [{}, {"flip": False}, {"train": False}])
def test_labels_need_no_decoding(samples, options, monkeypatch):
    dataset = dataset_of(samples, **options)
    expected = [dataset[epoch, index]["labels"] for epoch in range(1, 7) for index in range(8)]
    monkeypatch.setattr("unfreeze.data.dataset.read_frames", lambda *_, **__: pytest.fail("decoded"))
    before = torch.get_rng_state()
    found = [dataset.labels(epoch, index) for epoch in range(1, 7) for index in range(8)]
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(expected, found, strict=True):
        assert a["motion"] == b["motion"]
        assert torch.equal(a["tags"], b["tags"])
    swapped = {labels["motion"] for labels in found[::8]}  # the first sample's, which is `left`
    assert swapped == ({0, 1} if not options else {0})


@pytest.mark.parametrize(
    ("options", "copies"), [({}, 1), ({"eval_clips": 4}, 1), ({"train": False}, 1), (COPIES, 6)]
)
def test_rows_of_a_sample(samples, options, copies):
    dataset = dataset_of(samples, **options)
    assert [dataset.rows(index) for index in range(3)] == [copies, 2 * copies, 3 * copies]
    assert dataset[1, 1]["video"].numel() == dataset.rows(1) * 3 * 2 * 16 * 16


@given(
    views=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    copies=st.integers(1, 3),
    kept=st.lists(st.booleans(), min_size=5, max_size=5),
    by_pixel=st.booleans(),
)
def test_rows_are_those_of_the_padded_batch(views, copies, kept, by_pixel):
    """Also if frames lie in memory pixel by pixel, as decoders give them."""
    videos = []
    for count in views:
        video = torch.rand((copies, count, 3, 2, 4, 4))
        if by_pixel:
            video = video.movedim(2, -1).contiguous().movedim(-1, 2)
        videos.append(video if copies > 1 else video[0])
    items = [{"video": video, "labels": {"a": 0}, "index": i} for i, video in enumerate(videos)]
    parts = [
        Part(i, 1, {"a": 0}, count, None if kept[i] else video)
        for i, (count, video) in enumerate(zip(views, videos, strict=True))
    ]
    batch = collate_parts(parts, copies) | {"version": torch.ones(len(views), dtype=torch.int64)}
    check(collate(items), batch, copies, kept[: len(views)])
