"""The files of the demo: real videos, fitting labels, the same for the same seed, no leak between splits."""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import av
import numpy as np
import pytest

from unfreeze.data.demo import ensure_demo, files
from unfreeze.data.demo.files import Clip, frames_of, plan, write_demo
from unfreeze.data.demo.tasks import MOTIONS, OBJECTS

SMALL = plan(train={"hop": 3, "spin": 2}, val={"plunge": 2})


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path), "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(SMALL, tmp_path_factory.mktemp("cache"))


def test_clips_are_real_h264(folder: Path) -> None:
    with av.open(str(folder / SMALL[0].path), "r") as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"
        assert stream.average_rate == files.FPS
        assert (stream.width, stream.height, stream.frames) == (files.SIZE, files.SIZE, files.FRAMES)


def test_decoded_frames_are_the_rendered_ones_but_for_compression(folder: Path) -> None:
    clip = SMALL[0]
    video = decoded(folder / clip.path)
    assert video.shape == (files.FRAMES, files.SIZE, files.SIZE, 3)
    assert np.abs(video.astype(float) - frames_of(clip)).mean() < 15


def test_labels_name_every_file_once(folder: Path) -> None:
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "motion", "object", "split", "group"]
    assert sorted(row["path"] for row in rows) == sorted(
        path.relative_to(folder).as_posix() for path in (folder / "clips").glob("*.mp4")
    )
    assert [(row["path"], row["motion"], row["object"]) for row in rows] == [
        (clip.path, clip.motion, clip.object) for clip in SMALL
    ]


def test_the_same_seed_gives_the_same_frames(folder: Path, tmp_path: Path) -> None:
    again = write_demo(SMALL, tmp_path)
    assert again.name == folder.name
    assert np.array_equal(frames_of(SMALL[1]), frames_of(SMALL[1]))
    for clip in SMALL[:2]:
        assert np.array_equal(decoded(folder / clip.path), decoded(again / clip.path))


def test_another_seed_gives_other_clips_in_another_folder() -> None:
    one, other = plan(0), plan(1)
    assert not {clip.seed for clip in one} & {clip.seed for clip in other}
    assert not {clip.texture for clip in one} & {clip.texture for clip in other}
    assert files._content_key(one) != files._content_key(other)


def test_a_finished_folder_is_reused_and_progress_counts_clips(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = write_demo(SMALL[:2], tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert write_demo(SMALL[:2], tmp_path, lambda done, total: pytest.fail("rendered again")) == made


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(SMALL, tmp_path, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_faster_twin_is_kept(tmp_path: Path) -> None:
    def twin(done: int, total: int) -> None:
        if done == 1:
            write_demo(SMALL[:1], tmp_path)

    made = write_demo(SMALL[:1], tmp_path, twin)
    assert [path.name for path in tmp_path.iterdir()] == [made.name]


def test_a_changed_renderer_makes_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "scenes.py"
    monkeypatch.setattr(files, "_sources", lambda: [source])
    source.write_text("one")
    before = files._content_key(SMALL)
    source.write_text("two")
    assert files._content_key(SMALL) != before


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "plan", lambda seed: SMALL[:1])
    monkeypatch.setenv("UNFREEZE_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert ensure_demo().parent == tmp_path / "mine"
    monkeypatch.delenv("UNFREEZE_CACHE")
    assert ensure_demo().parent == tmp_path / "xdg" / "unfreeze"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_root() == tmp_path / ".cache" / "unfreeze"


@pytest.fixture(scope="module", params=[0, 3])
def clips(request: pytest.FixtureRequest) -> tuple[Clip, ...]:
    return plan(request.param)


def test_train_is_imbalanced_four_to_one_and_val_is_balanced(clips: tuple[Clip, ...]) -> None:
    motions = {split: Counter(c.motion for c in clips if c.split == split) for split in ("train", "val")}
    assert motions["train"]["hop"] == 4 * motions["train"]["plunge"] == 80
    assert sum(motions["train"].values()) == 320
    assert set(motions["val"].values()) == {30}
    assert set(motions["val"]) == set(MOTIONS)


def test_objects_are_even_and_say_nothing_about_the_motion(clips: tuple[Clip, ...]) -> None:
    by_motion: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for clip in clips:
        by_motion[clip.split, clip.motion][clip.object] += 1
    for counts in by_motion.values():
        assert set(counts) == set(OBJECTS)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_no_background_is_on_both_sides(clips: tuple[Clip, ...]) -> None:
    for field in ("group", "texture", "seed", "path"):
        sides = [
            {getattr(clip, field) for clip in clips if clip.split == split} for split in ("train", "val")
        ]
        assert not sides[0] & sides[1]
    assert len({clip.group for clip in clips}) == len({clip.texture for clip in clips})
