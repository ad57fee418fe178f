from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from unfreeze.data import ClipDataset, Sample, VideoError, View, read_frames
from unfreeze.data.decode import DecodedVideo
from unfreeze.data.sampling import segment_times, window_times
from unfreeze.data.seeds import derive_seed
from unfreeze.data.transforms import TrainingTransform, training_side
from unfreeze.preprocessing import Preprocessing

SPREAD = Preprocessing(frames=4, resize=24, crop=(16, 16), mean=(0.5,) * 3, std=(0.2,) * 3)
WINDOW = Preprocessing(frames=4, resize=24, crop=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3, fps=10)


@pytest.fixture(scope="module")
def samples(tmp_path_factory, write_video) -> list[Sample]:
    root = tmp_path_factory.mktemp("clips")
    labels = [{"motion": 0, "object": 1}, {"motion": 1, "object": None}, {"motion": 1, "object": 0}]
    paths = [write_video(root / f"{i}.mp4", frames) for i, frames in enumerate((20, 9, 1))]
    return [Sample((View(path),), "train", label) for path, label in zip(paths, labels, strict=True)]


def train(samples, preprocessing=SPREAD, **options) -> ClipDataset:
    return ClipDataset(samples, ["motion", "object"], preprocessing, train=True, **options)


def frames_of(item, which) -> list[int]:
    return which(item["video"][0].transpose(0, 1) * 255)


def test_an_item(samples):
    dataset = train(samples)
    assert len(dataset) == 3
    item = dataset[1, 1]
    assert item["video"].shape == (1, 3, 4, 16, 16)
    assert item["video"].dtype == torch.float32
    assert item["labels"] == {"motion": 1, "object": -1}
    assert item["index"] == 1


def test_the_same_key_gives_the_same_bits_in_any_order(samples):
    first = [train(samples, seed=3)[2, i]["video"] for i in (0, 1, 2)]
    torch.manual_seed(99)
    dataset = train(samples, seed=3)
    dataset[7, 0]
    again = [dataset[2, i]["video"] for i in (2, 1, 0)][::-1]
    assert all(map(torch.equal, first, again))


def test_seed_epoch_and_index_each_make_a_difference(samples):
    twice = [samples[0], samples[0]]
    videos = [
        train(twice)[1, 0], train(twice)[2, 0], train(twice)[1, 1], train(twice, seed=1)[1, 0],
    ]  # fmt: skip
    assert len({item["video"].sum().item() for item in videos}) == 4


def test_a_plain_index_is_that_of_the_first_epoch(samples):
    assert torch.equal(train(samples)[0]["video"], train(samples)[1, 0]["video"])


def test_the_global_generator_does_not_notice(samples):
    before = torch.get_rng_state()
    train(samples)[1, 0]
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_is_the_same_in_every_epoch_and_takes_the_middles(samples, which):
    plain = Preprocessing(frames=4, resize=24, crop=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3)
    dataset = ClipDataset(samples, ["motion"], plain, train=False)
    assert torch.equal(dataset[1, 0]["video"], dataset[9, 0]["video"])
    assert frames_of(dataset[0], which) == [2, 7, 12, 17]
    assert dataset[0]["labels"] == {"motion": 0}


def test_with_a_frame_rate_evaluation_is_the_window_in_the_middle(samples, which):
    dataset = ClipDataset(samples, ["motion"], WINDOW, train=False)
    assert frames_of(dataset[0], which) == [8, 9, 10, 11]


def test_in_training_a_window_is_anywhere_and_segments_are_jittered(samples, which):
    windows = [frames_of(train(samples, WINDOW, augment="none")[e, 0], which) for e in range(1, 30)]
    assert all(w == list(range(w[0], w[0] + 4)) for w in windows)
    assert len({w[0] for w in windows}) > 8
    plain = Preprocessing(frames=4, resize=24, crop=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3)
    spread = [frames_of(train(samples, plain, augment="none")[e, 0], which) for e in range(1, 30)]
    assert all(5 * i <= frame < 5 * i + 5 for clip in spread for i, frame in enumerate(clip))
    assert len(set(map(tuple, spread))) > 20


def test_short_videos_are_not_refused(samples, which):
    for preprocessing in (SPREAD, WINDOW):
        for dataset in (train(samples, preprocessing), ClipDataset(samples, [], preprocessing, train=False)):
            assert dataset[1, 2]["video"].shape == (1, 3, 4, 16, 16)


def test_augmentation_and_flip_reach_the_clip(samples):
    plain = train(samples, augment="none")[1, 0]["video"]
    light = train(samples, augment="light")[1, 0]["video"]
    assert not torch.equal(plain, light)
    with pytest.raises(ValueError, match="augment"):
        train(samples, augment="heavy")


def test_a_task_without_a_label_in_the_sample_is_masked(samples):
    assert ClipDataset(samples, ["other"], SPREAD, train=False)[0]["labels"] == {"other": -1}


def test_a_bad_file_is_an_error_that_names_it(samples):
    with pytest.raises(VideoError, match=r"^gone\.mp4: no such file"):
        train([Sample((View(Path("gone.mp4")),), "train", {})])[1, 0]


def test_derived_seeds_differ_and_fit_torch():
    seeds = {derive_seed(*keys) for keys in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (0, 1), (0, 1, 3)]}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**64 for seed in seeds)


def as_it_was(path: Path, preprocessing: Preprocessing, seed: int, epoch: int, index: int) -> torch.Tensor:
    """A light clip (C, T, H, W) in plain words: draw the moments, decode, crop, jitter, normalise."""
    p = preprocessing
    steps = [
        v2.RandomResizedCrop(
            p.crop, scale=(0.7, 1.0), ratio=(4 / 5, 5 / 4),
            interpolation=InterpolationMode(p.interpolation), antialias=True,
        ),
        v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(p.mean), list(p.std)),
    ]  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, epoch, index))

        def times(info) -> list[float]:
            if p.fps is None:
                return segment_times(info.duration, p.frames, torch.rand(p.frames).tolist())
            return window_times(info.duration, p.frames, p.fps, torch.rand(()).item())

        return v2.Compose(steps)(read_frames(path, times, decoder="pyav")).transpose(0, 1)


@pytest.mark.parametrize("preprocessing", [SPREAD, WINDOW])
def test_the_default_draws_what_it_always_drew(samples, preprocessing):
    dataset = train(samples, preprocessing, seed=5)
    for epoch, index in [(1, 0), (1, 1), (2, 0), (7, 2)]:
        expected = as_it_was(samples[index].path, preprocessing, 5, epoch, index)
        assert torch.equal(dataset[epoch, index]["video"], expected[None])


@pytest.fixture(scope="module")
def noisy(tmp_path_factory, write_video) -> Path:
    return write_video(tmp_path_factory.mktemp("noisy") / "noisy.mp4", 12, size=(96, 64), noise=True)


def viewed(path: Path, views: int = 1, **labels) -> Sample:
    return Sample((View(path, 0.0, 0.5), View(path, 0.6, 1.2), View(path))[:views], "train", labels)


def test_a_sample_in_several_views(noisy):
    three, two = (ClipDataset([viewed(noisy, v)], [], SPREAD, train=True) for v in (3, 2))
    assert three[1, 0]["video"].shape == (3, 3, 4, 16, 16)
    assert torch.equal(three[1, 0]["video"][:2], two[1, 0]["video"])
    assert len({view.sum().item() for view in three[1, 0]["video"]}) == 3
    evaluated = ClipDataset([viewed(noisy, 3)], [], SPREAD, train=False)[0]["video"]
    for view, expected in zip(viewed(noisy, 3).views, evaluated, strict=True):
        alone = ClipDataset([Sample((view,), "val", {})], [], SPREAD, train=False)[0]["video"][0]
        assert torch.equal(alone, expected)


def test_a_view_is_its_stretch_of_the_file(samples, which):
    stretch = [Sample((View(samples[0].path, 0.5, 1.0),), "train", {})]
    for epoch in range(1, 6):
        found = ClipDataset(stretch, [], WINDOW, train=True, augment="none")[epoch, 0]
        assert set(frames_of(found, which)) <= set(range(5, 10))
    assert frames_of(ClipDataset(stretch, [], WINDOW, train=False)[0], which) == [6, 7, 8, 9]


MOTION = {"motion": ("left", "right", "up"), "tags": ("a", "b", "c")}


def test_a_mirrored_sample_is_mirrored_in_all_views_and_trades_its_label(noisy):
    options = {"train": True, "augment": "none", "multilabel": frozenset({"tags"})}
    sample = viewed(noisy, 2, motion=0, tags=(0, 1))
    plain = ClipDataset([sample], MOTION, SPREAD, flip=False, **options)
    swap = {"motion": {"left": "right"}, "tags": {"b": "c"}}
    flipped = ClipDataset([sample], MOTION, SPREAD, flip=True, flip_swap=swap, **options)
    seen = set()
    for epoch in range(1, 21):
        item = flipped[epoch, 0]
        raw = flipped.frames(epoch, 0)
        straight = [TrainingTransform(SPREAD, "none")(frames) for frames in raw]
        mirrored = all(map(torch.equal, item["video"], [clip.flip(-1) for clip in straight]))
        assert mirrored or all(map(torch.equal, item["video"], straight))
        assert item["labels"]["motion"] == int(mirrored)
        assert item["labels"]["tags"].tolist() == ([1, 0, 1] if mirrored else [1, 1, 0])
        seen.add(mirrored)
    assert seen == {True, False}
    assert plain[1, 0]["labels"]["motion"] == 0
    evaluated = ClipDataset(
        [sample], MOTION, SPREAD, **{**options, "train": False}, flip=True, flip_swap=swap
    )
    assert evaluated[0]["labels"]["motion"] == 0


def test_a_preset_may_flip_by_itself_and_be_told_not_to(noisy):
    for augment, flip, expected in [("light", None, False), ("strong", None, True), ("strong", False, False)]:
        assert (
            ClipDataset([viewed(noisy)], [], SPREAD, train=True, augment=augment, flip=flip).flips is expected
        )


def test_a_preset_with_a_speed_spaces_the_moments(noisy, monkeypatch):
    spacings = set()
    monkeypatch.setattr(
        "unfreeze.data.dataset.clip_times",
        lambda p, info, *, position, speed: spacings.add(speed) or [0.0] * p.frames,
    )
    for augment in ("light", "strong"):
        dataset = ClipDataset([viewed(noisy, 2)], [], WINDOW, train=True, augment=augment)
        for epoch in range(1, 6):
            dataset[epoch, 0]
        assert len(spacings) == (1 if augment == "light" else 6)  # one per sample, not per view


@pytest.mark.parametrize(
    ("label", "expected"), [((0, 2), [1, 0, 1]), ((), [0, 0, 0]), (None, [-1, -1, -1]), ((1,), [0, 1, 0])]
)
def test_labels_of_several_classes(noisy, label, expected):
    sample = viewed(noisy, tags=label, motion=None)
    item = ClipDataset([sample], MOTION, SPREAD, train=False, multilabel=frozenset({"tags"}))[0]
    assert item["labels"]["tags"].tolist() == expected
    assert item["labels"]["tags"].dtype == torch.int64
    assert item["labels"]["motion"] == -1


def test_evaluation_takes_copies_of_a_sample(samples, which):
    dataset = ClipDataset(samples, [], WINDOW, train=False, eval_clips=2, eval_crops=3)
    assert dataset.copies == 6
    video = dataset[0]["video"]
    assert video.shape == (6, 1, 3, 4, 16, 16)
    firsts = [which(copy[0].transpose(0, 1) * 255)[0] for copy in video]
    assert firsts == [4, 4, 4, 12, 12, 12]
    centre = ClipDataset(samples, [], WINDOW, train=False, eval_clips=2)[0]["video"]
    assert torch.equal(video[1], centre[0])
    assert torch.equal(video[4], centre[1])


class Kept:
    """A cache in a dictionary, which may refuse."""

    def __init__(self, refuse: bool = False) -> None:
        self.videos: dict[tuple[View, str], DecodedVideo] = {}
        self.made, self.refuse = 0, refuse

    def video(self, view, recipe, make, *, decoder="auto", whole=True):
        if self.refuse:
            return None
        if (view, recipe) not in self.videos:
            self.made += 1
            self.videos[view, recipe] = make()
        return self.videos[view, recipe]


LARGE = Preprocessing(frames=4, resize=18, crop=(12, 16), mean=(0.5,) * 3, std=(0.2,) * 3, fps=5)


@pytest.mark.parametrize("preprocessing", [SPREAD, WINDOW, LARGE])
@pytest.mark.parametrize("refuse", [False, True])
def test_a_cache_changes_nothing(noisy, preprocessing, refuse):
    """The frames are larger than training needs them, so they are shrunk either way."""
    assert training_side(preprocessing) < 64
    cache = Kept(refuse)
    for options in ({"train": True}, {"train": True, "augment": "strong"}, {"train": False, "eval_clips": 2}):
        plain = ClipDataset([viewed(noisy, 3)], [], preprocessing, **options)
        cached = ClipDataset([viewed(noisy, 3)], [], preprocessing, cache=cache, **options)
        for epoch in (1, 2, 3):
            assert torch.equal(plain[epoch, 0]["video"], cached[epoch, 0]["video"])
    assert cache.made == (0 if refuse else 6)  # three views, in training and in evaluation
    kept = [video.frames.shape for video in cache.videos.values()]
    assert all(min(shape[2:]) == training_side(preprocessing) for shape in kept[:3])


def test_the_frames_that_an_item_is_made_of(noisy):
    dataset = ClipDataset([viewed(noisy, 2)], [], SPREAD, train=True)
    frames = dataset.frames(3, 0)
    assert [f.shape[:2] for f in frames] == [(4, 3), (4, 3)]
    assert frames[0].dtype == torch.uint8
    assert min(frames[0].shape[2:]) == training_side(SPREAD)
    assert not torch.equal(frames[0], dataset.frames(4, 0)[0])
    evaluated = ClipDataset([viewed(noisy, 2)], [], SPREAD, train=False).frames(1, 0)
    assert [f.shape for f in evaluated] == [(4, 3, 24, 36)] * 2  # resized, not yet cropped
