from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unfreeze.data import ClipDataset, Sample, VideoError, View
from unfreeze.data.dataset import derive_seed
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
