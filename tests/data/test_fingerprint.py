"""What a data set's fingerprint tells apart, and what it does not."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from unfreeze.data import ClipDataset, Sample, VideoError, View, identity
from unfreeze.preprocessing import Preprocessing

WINDOW = Preprocessing(frames=4, resize=24, crop=(16, 16), mean=(0.5,) * 3, std=(0.2,) * 3, fps=10)
CLASSES = {"motion": ("left", "right")}


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Nothing decodes them."""
    for i in range(3):
        (tmp_path / f"{i}.mp4").write_bytes(bytes([i]) * 300_000)
        os.utime(tmp_path / f"{i}.mp4", ns=(0, 1000))
    views = [[View(tmp_path / "0.mp4"), View(tmp_path / "1.mp4", 0.5, 2.0)], [View(tmp_path / "2.mp4")]]
    return [Sample(tuple(of_one), "train", {"motion": i}) for i, of_one in enumerate(views)]


def fingerprint(samples, preprocessing=WINDOW, *, train=True, tasks=CLASSES, **options) -> str:
    return ClipDataset(
        samples, tasks, preprocessing, train=train, **{"decoder": "pyav"} | options
    ).fingerprint()


@pytest.mark.parametrize("train", [True, False])
def test_the_same_data_have_the_same_in_another_process(samples, train):
    found = fingerprint(samples, train=train)
    assert fingerprint(samples, train=train) == found
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        dataset = ClipDataset(samples, CLASSES, WINDOW, train=train, decoder="pyav")
        assert pool.apply(ClipDataset.fingerprint, (dataset,)) == found


def test_data_that_moved_have_the_same(samples, tmp_path):
    before = fingerprint(samples)
    (tmp_path / "elsewhere").mkdir()
    for path in tmp_path.glob("*.mp4"):
        path.rename(tmp_path / "elsewhere" / path.name)
    moved = [
        replace(s, views=tuple(replace(v, path=tmp_path / "elsewhere" / v.path.name) for v in s.views))
        for s in samples
    ]
    assert fingerprint(moved) == before


@pytest.mark.parametrize(
    "options",
    [
        {"tasks": ["motion", "other"]},
        {"tasks": []},
        {"flip_swap": {"motion": {"left": "right"}}},
        {"augment": "light", "flip": False},
        {"eval_clips": 2},
        {"eval_crops": 3},
        {"seed": 0},
        {"cache": object()},
    ],
)
def test_what_changes_no_pixel_of_training_does_not_matter(samples, options):
    if "flip_swap" in options:
        options |= {"tasks": CLASSES}
    assert fingerprint(samples, **options) == fingerprint(samples)


def test_labels_do_not_matter(samples):
    other = [replace(s, labels={"motion": None}, group="g", row="r", split="val") for s in samples]
    assert fingerprint(other) == fingerprint(samples)


@pytest.mark.parametrize("options", [{"seed": 1}, {"augment": "strong"}, {"flip": True}])
def test_chance_matters_in_training_alone(samples, options):
    assert fingerprint(samples, **options) != fingerprint(samples)
    assert fingerprint(samples, train=False, **options) == fingerprint(samples, train=False)


@pytest.mark.parametrize("options", [{"eval_clips": 2}, {"eval_crops": 3}, {"eval_clips": 3}])
def test_copies_matter_in_evaluation(samples, options):
    assert fingerprint(samples, train=False, **options) != fingerprint(samples, train=False)


def test_training_is_not_evaluation(samples):
    assert fingerprint(samples, train=False, augment="none") != fingerprint(samples, augment="none")


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 8},
        {"resize": 25},
        {"resize": (24, 24)},
        {"crop": (16, 24)},
        {"mean": (0.5, 0.5, 0.4)},
        {"std": (0.2, 0.2, 0.3)},
        {"fps": 12},
        {"fps": None},
        {"fps": None, "stride": 2},
        {"interpolation": "bicubic"},
        {"short": "wrap"},
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_every_part_of_preprocessing_matters(samples, change, train):
    assert fingerprint(samples, replace(WINDOW, **change), train=train) != fingerprint(samples, train=train)


def with_views(change: Callable[[View], View]) -> Callable[[list[Sample]], list[Sample]]:
    return lambda samples: [
        samples[0],
        replace(samples[1], views=tuple(change(view) for view in samples[1].views)),
    ]


CHANGES: dict[str, Callable[[list[Sample]], list[Sample]]] = {
    "another order of samples": lambda samples: samples[::-1],
    "another order of views": lambda samples: [replace(samples[0], views=samples[0].views[::-1]), samples[1]],
    "one less": lambda samples: samples[:1],
    "one twice": lambda samples: [*samples, samples[0]],
    "views on their own": lambda samples: [
        *(replace(samples[0], views=(view,)) for view in samples[0].views),
        samples[1],
    ],
    "one view less": lambda samples: [replace(samples[0], views=samples[0].views[:1]), samples[1]],
    "another start": with_views(lambda view: replace(view, start=0.1)),
    "another end": with_views(lambda view: replace(view, end=0.1)),
    "another file": lambda samples: with_views(lambda view: samples[0].views[0])(samples),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("train", [True, False])
def test_clips_matter_and_their_order(samples, change, train):
    assert fingerprint(CHANGES[change](samples), train=train) != fingerprint(samples, train=train)


@pytest.mark.parametrize("change", ["content", "time", "length"])
@pytest.mark.parametrize("file", ["1.mp4", "2.mp4"])
def test_a_file_that_changed_matters(samples, tmp_path, change, file):
    before = fingerprint(samples)
    path, data = tmp_path / file, bytearray((tmp_path / file).read_bytes())
    if change == "content":
        data[7] ^= 1
    path.write_bytes(data + b"x" * (change == "length"))
    os.utime(path, ns=(0, 1000 + (change == "time")))
    assert fingerprint(samples) != before


def test_the_decoder_matters(samples, monkeypatch):
    monkeypatch.setattr(
        identity.metadata, "version", lambda package: {"torchcodec": "9", "av": "8"}.get(package, "7")
    )
    monkeypatch.setattr("unfreeze.data.identity._ffmpeg", lambda decoder: "")
    monkeypatch.setattr("unfreeze.data.dataset.pick_decoder", lambda name: name)
    identity.surroundings.cache_clear()
    before = fingerprint(samples)
    assert fingerprint(samples, decoder="torchcodec") != before
    identity.surroundings.cache_clear()


@pytest.mark.parametrize("what", ["version", "code"])
def test_other_versions_and_other_code_matter(samples, tmp_path, monkeypatch, what):
    before = fingerprint(samples)
    identity.surroundings.cache_clear()
    with monkeypatch.context() as patch:
        if what == "version":
            patch.setattr(identity.metadata, "version", lambda package: "0.0")
        else:
            patch.setattr(identity, "_sources", lambda *more: [tmp_path / "1.mp4"])
        assert fingerprint(samples) != before
    identity.surroundings.cache_clear()
    assert fingerprint(samples) == before


def test_the_code_that_draws_is_found():
    names = {source.name for source in identity._sources("dataset.py", "sampling.py")}
    assert {"pyav.py", "frames.py", "dataset.py", "sampling.py"} <= names


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(VideoError, match=r"^gone\.mp4: no such file; name a video file$"):
        fingerprint([Sample((View(Path("gone.mp4")),), "train", {})])


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(VideoError, match=r"is a directory; name a video file that can be read$"):
        fingerprint([Sample((View(tmp_path),), "train", {})])
