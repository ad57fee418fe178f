"""Windows that slide over files of any length, and what is in memory meanwhile."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data import ClipDataset, Sample, VideoError, VideoInfo, View
from unfreeze.models import build_model
from unfreeze.training import predict as module
from unfreeze.training.predict import Prediction, Sliding, Unreadable, predict, slide

from .conftest import write_clip

CPU = torch.device("cpu")


@given(st.floats(0.5, 500), st.floats(0.1, 20), st.floats(0.05, 30))
def test_windows_lie_in_the_file_and_reach_its_end(duration, length, stride):
    length = min(length, duration)
    spans = slide(duration, length, stride)
    assert spans == sorted(spans)
    assert spans[0][0] == 0
    assert spans[-1][1] == pytest.approx(duration)
    assert all(end - start == pytest.approx(length) and end <= duration for start, end in spans)
    steps = [after - before for (before, _), (after, _) in pairwise(spans)]
    assert all(step == pytest.approx(stride) for step in steps[:-1])
    assert all(0 < step <= stride + 1e-6 for step in steps)
    if stride <= length:  # every moment is in a window
        assert all(after[0] <= before[1] + 1e-6 for before, after in pairwise(spans))


@pytest.mark.parametrize(
    ("duration", "length", "stride", "spans"),
    [
        (4.0, 2.0, 2.0, [(0, 2), (2, 4)]),  # it comes out even: no window more
        (5.0, 2.0, 2.0, [(0, 2), (2, 4), (3, 5)]),
        (4.0, 2.0, 1.0, [(0, 2), (1, 3), (2, 4)]),
        (9.0, 2.0, 4.0, [(0, 2), (4, 6), (7, 9)]),  # with gaps that were asked for
        (2.0, 2.0, 1.0, [(0, 2)]),
    ],
)
def test_windows(duration, length, stride, spans):
    assert np.allclose(slide(duration, length, stride), spans)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("r3d_micro", {"a": ("x", "y"), "b": ("p", "q", "r")}, weights="none", multilabel={"b"})


INFO = VideoInfo(frames=300, fps=30.0, width=64, height=48, duration=10.0)


@pytest.mark.parametrize(
    ("clip", "sliding", "count"),
    [
        ({}, Sliding(), 7),  # 8 frames at 5 per second are 1.6 seconds
        ({}, Sliding(whole=True), 1),
        ({}, Sliding(stride=0.8), 12),
        ({}, Sliding(length=5.0), 2),
        ({"frames": 50}, Sliding(), 1),  # as long as the file
        ({"frames": 60}, Sliding(), 1),  # longer
        ({"stride": 3}, Sliding(), 13),  # 24 frames at 30 per second are 0.8 seconds
    ],
)
def test_how_many_windows_a_file_has(model, clip, sliding, count):
    assert len(sliding.spans(INFO, model.preprocessing.with_clip(**clip))) == count


def test_a_clip_that_is_spread_has_the_whole_file_or_windows_of_a_length_that_was_named(model):
    spread = replace(model.preprocessing, fps=None)
    assert Sliding().spans(INFO, spread) == [(0, 10.0)]
    assert len(Sliding(length=2.0).spans(INFO, spread)) == 5


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> dict[str, Path]:
    """At 16 frames per second: shorter than a clip, a little longer, and 20 seconds."""
    folder = tmp_path_factory.mktemp("videos")
    found = {}
    for name, frames in (("short", 10), ("longer", 40), ("long", 320)):
        found[name] = folder / f"{name}.mp4"
        write_clip(found[name], "right" if name == "long" else "left", "red", frames=frames)
    (folder / "junk.mp4").write_bytes(b"no video")
    found |= {"junk": folder / "junk.mp4", "gone": folder / "gone.mp4"}
    return found


def reference(model, path: Path, spans) -> dict[str, torch.Tensor]:
    """Slow and plain: every window as a view of its own, alone in its batch."""
    samples = [Sample((View(path, start, end),), "test", {}) for start, end in spans]
    dataset = ClipDataset(samples, (), model.preprocessing, train=False)
    with torch.no_grad():
        rows = [model.eval()(dataset[1, i]["video"][None]) for i in range(len(samples))]
    return {
        "a": torch.cat([row["a"] for row in rows]).softmax(1),
        "b": torch.cat([row["b"] for row in rows]).sigmoid(),
    }


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_window_is_what_evaluation_makes_of_that_stretch(model, videos, batch_size, workers):
    if workers and batch_size != 3:
        pytest.skip("processes take time to start; once is enough")
    files = [videos["short"], videos["long"], videos["longer"]]
    done: list[float] = []
    found = list(
        predict(
            model,
            files,
            sliding=Sliding(stride=1.0),
            device=CPU,
            batch_size=batch_size,
            workers=workers,
            advance=done.append,
        )
    )
    assert [one.path for one in found] == files
    assert [len(one.spans) for one in found] == [1, 20, 2]
    assert sum(done) == pytest.approx(3)
    for one in found:
        assert isinstance(one, Prediction)
        for task, rows in reference(model, one.path, one.spans).items():
            torch.testing.assert_close(one.probabilities[task], rows, atol=1e-5, rtol=0)


def test_a_short_file_and_one_window_are_the_clip_of_evaluation(model, videos):
    for name, sliding in (("short", Sliding()), ("long", Sliding(whole=True))):
        (found,) = predict(model, [videos[name]], sliding=sliding, device=CPU)
        assert isinstance(found, Prediction)
        dataset = ClipDataset(
            [Sample((View(videos[name]),), "test", {})], (), model.preprocessing, train=False
        )
        with torch.no_grad():
            expected = model.eval()(dataset[1, 0]["video"][None])
        assert torch.equal(found.probabilities["a"], expected["a"].softmax(1))
        assert torch.equal(found.probabilities["b"], expected["b"].sigmoid())


def test_bad_files_are_given_in_their_place_and_stop_nobody(model, videos):
    files = [videos[name] for name in ("junk", "short", "gone", "longer")]
    done: list[float] = []
    found = list(predict(model, files, sliding=Sliding(), device=CPU, advance=done.append))
    assert [type(one) for one in found] == [Unreadable, Prediction, Unreadable, Prediction]
    assert [one.path for one in found] == files
    assert all(one.reason.startswith(str(one.path)) for one in found if isinstance(one, Unreadable))
    assert sum(done) == pytest.approx(4)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_breaks_in_the_middle_is_bad_once_and_not_decoded_on(model, videos, workers, monkeypatch):
    """Ten windows can be read, the eleventh cannot; the batch of a file after it is whole."""
    whole, seen = module.read_frames, []

    def breaks(path, times, **how):
        seen.append(times)
        if path == videos["long"] and max(times) > 10:
            raise VideoError(f"{path}: breaks off after 10.00 seconds")
        return whole(path, times, **how)

    monkeypatch.setattr(module, "read_frames", breaks)
    files = [videos["longer"], videos["long"], videos["short"]]
    done: list[float] = []
    found = list(
        predict(
            model,
            files,
            sliding=Sliding(stride=0.1),
            device=CPU,
            batch_size=4,
            workers=workers,
            advance=done.append,
        )
    )
    assert [type(one) for one in found] == [Prediction, Unreadable, Prediction]
    assert sum(done) == pytest.approx(3)
    if not workers:  # of 185 windows in 47 chunks
        assert len(seen) < 30
    for one in (found[0], found[2]):
        for task, rows in reference(model, one.path, one.spans).items():
            torch.testing.assert_close(one.probabilities[task], rows, atol=1e-5, rtol=0)


def test_of_a_file_of_ten_hours_only_a_few_windows_are_decoded_at_once(model, monkeypatch):
    """22,500 windows, of which nothing but how many are planned ahead is looked at."""
    hours = VideoInfo(frames=1_080_000, fps=30.0, width=1920, height=1080, duration=36_000.0)
    monkeypatch.setattr(module, "probe", lambda path: hours)
    chunks = module._plan([Path("long.mp4")], Sliding(), model.preprocessing, 64, set())
    sizes = [len(chunk.spans) for chunk in chunks]
    assert sum(sizes) == 22_500
    assert max(sizes) * 3 * 1920 * 1080 * model.preprocessing.frames <= 256 * 2**20


def test_a_long_file_is_decoded_in_the_memory_of_a_short_one(model, videos, monkeypatch):
    """What a call of the decoder is asked for does not grow with the file, and calls seek forward."""
    whole, asked = module.read_frames, []

    def counted(path, times, **how):
        asked.append(list(times))
        return whole(path, times, **how)

    monkeypatch.setattr(module, "read_frames", counted)
    list(predict(model, [videos["long"]], sliding=Sliding(stride=0.5), device=CPU, batch_size=2))
    assert {len(times) for times in asked} <= {8, 16}
    assert len(asked) == 19
    assert [times[0] for times in asked] == sorted(times[0] for times in asked)
