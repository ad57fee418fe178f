from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from unfreeze.data import ClipDataset, Sample, VideoError, View, make_loader
from unfreeze.data.clip_cache import ClipCache, Room, Stats, cache, choose, entry, expect, open_cache
from unfreeze.data.decode import DecodedVideo, read_all, read_frames
from unfreeze.preprocessing import Preprocessing

SPREAD = Preprocessing(frames=4, resize=20, crop=(16, 16), mean=(0.5,) * 3, std=(0.2,) * 3)
WINDOW = Preprocessing(frames=4, resize=20, crop=(16, 16), mean=(0.5,) * 3, std=(0.2,) * 3, fps=10)
EXACTLY = Preprocessing(frames=4, resize=(20, 31), crop=(16, 16), mean=(0.5,) * 3, std=(0.2,) * 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory, write_video) -> list[Path]:
    """Noise: any frame that is not the right one, and any pixel that was rounded another way, shows."""
    root = tmp_path_factory.mktemp("clips")
    sizes = [(64, 48), (48, 64), (22, 20), (64, 36), (37, 61)]
    lengths = [20, 9, 1, 30, 12]
    return [
        write_video(root / f"{i}.mp4", frames, size=(w - w % 2, h - h % 2), noise=True)
        for i, (frames, (w, h)) in enumerate(zip(lengths, sizes, strict=True))
    ]


@pytest.fixture(scope="module")
def samples(files) -> list[Sample]:
    views = [View(path) for path in files]
    views += [View(files[0], 0.4, 1.5), View(files[3], start=1.0), View(files[3], end=0.35)]
    events = [(view,) for view in views[:5]] + [tuple(views[5:])]
    return [Sample(event, "train", {"a": i % 2}) for i, event in enumerate(events)]


@pytest.fixture
def kept(tmp_path) -> ClipCache:
    return ClipCache(tmp_path / "clips", 10**9)


def refused() -> DecodedVideo:
    raise AssertionError("made although it is there, or cannot be kept")


def videos(dataset: ClipDataset, epochs: tuple[int, ...] = (1, 2, 3)) -> Iterator[torch.Tensor]:
    for epoch in epochs:
        for index in range(len(dataset)):
            yield dataset[epoch, index]["video"]


def agree(samples, kept: ClipCache, preprocessing=SPREAD, *, train: bool = True, **options) -> None:
    """Every clip of three epochs, bit for bit: without a cache, with it, and where another filled it."""
    plain = ClipDataset(samples, ["a"], preprocessing, train=train, **options)
    cached = ClipDataset(samples, ["a"], preprocessing, train=train, cache=kept, **options)
    again = pickle.loads(pickle.dumps(cached))
    for a, b, c in zip(videos(plain), videos(cached), videos(again), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


@pytest.mark.parametrize("preprocessing", [SPREAD, WINDOW], ids=["spread", "window"])
@pytest.mark.parametrize("augment", ["none", "light", "standard", "strong"])
def test_training_with_and_without_a_cache_agrees_in_every_bit(samples, kept, preprocessing, augment):
    agree(samples, kept, preprocessing, augment=augment)
    count = sum(len(sample.views) for sample in samples)
    stats = kept.stats()
    assert (stats.stored, stats.misses, stats.hits) == (count, count, 2 * count)
    assert len(list(kept.folder.glob("*.clip"))) == count


@pytest.mark.parametrize("preprocessing", [SPREAD, WINDOW, EXACTLY], ids=["spread", "window", "exactly"])
@pytest.mark.parametrize("copies", [{}, {"eval_clips": 2, "eval_crops": 3}], ids=["one", "several"])
def test_evaluation_agrees_too_and_keeps_just_its_frames(samples, kept, preprocessing, copies):
    agree(samples, kept, preprocessing, train=False, **copies)
    frames = 4 * copies.get("eval_clips", 1)
    for path in kept.folder.glob("*.clip"):
        found = entry.read(path, lambda _: False)
        assert found is not None
        assert len(found.frames) == frames
        assert min(found.frames.shape[-2:]) == 20


@pytest.mark.parametrize("decoder", ["pyav", "torchcodec"])
def test_both_decoders_agree_with_what_is_kept_of_them(samples, kept, decoder):
    if decoder == "torchcodec":
        pytest.importorskip("torchcodec")
    agree(samples, kept, decoder=decoder)


def test_training_and_validation_do_not_take_each_others_frames(samples, kept):
    agree(samples, kept, train=True)
    agree(samples, kept, train=False)
    agree(samples, kept, Preprocessing(4, 18, (16, 16), (0.5,) * 3, (0.2,) * 3), train=False)
    agree(samples, kept, Preprocessing(4, 40, (32, 32), (0.5,) * 3, (0.2,) * 3), train=True)


def test_workers_share_the_cache_and_the_parent_counts(samples, kept):
    dataset = ClipDataset(samples[:5], ["a"], SPREAD, train=True, cache=kept)
    plain = make_loader(ClipDataset(samples[:5], ["a"], SPREAD, train=True), batch_size=2)
    loader = make_loader(dataset, batch_size=2, workers=2)
    for epoch in (1, 2, 3):
        loader.set_epoch(epoch)
        plain.set_epoch(epoch)
        for a, b in zip(plain, loader, strict=True):
            assert torch.equal(a["video"], b["video"])
    size = sum(path.stat().st_size for path in kept.folder.glob("*.clip"))
    stats = kept.stats()
    assert (stats.hits, stats.misses, stats.stored) == (10, 5, 5)
    assert stats.stored_bytes == pytest.approx(size, rel=0.1)
    assert kept.notes() == []


def test_a_later_run_finds_what_an_earlier_one_kept(tmp_path, files):
    for run in (1, 2):
        kept = ClipCache(tmp_path, 10**9)
        for path in files:
            make = (lambda path=path: read_all(path)) if run == 1 else refused
            assert kept.video(View(path), "as it is", make) is not None
    assert kept.stats() == Stats(hits=5, misses=0, stored=0, stored_bytes=0, full=0, error=0)


def test_a_file_that_changes_is_decoded_again(tmp_path, kept, write_video):
    path = write_video(tmp_path / "a.mp4", 5)
    first = kept.video(View(path), "r", lambda: read_all(path))
    write_video(path, 5, noise=True)
    second = kept.video(View(path), "r", lambda: read_all(path))
    assert first is not None
    assert second is not None
    assert not torch.equal(first.frames, second.frames)


@pytest.mark.parametrize("damage", ["torn", "flipped", "emptied"])
def test_a_damaged_entry_is_made_again(kept, files, damage):
    good = kept.video(View(files[0]), "r", lambda: read_all(files[0]))
    assert good is not None
    [path] = kept.folder.glob("*.clip")
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-1] ^= 1
    new = path.with_name("new")  # as another program would: not the file that may be mapped
    new.write_bytes({"torn": content[:-100], "flipped": content, "emptied": b""}[damage])
    os.replace(new, path)
    again = kept.video(View(files[0]), "r", lambda: read_all(files[0]))
    assert again is not None
    assert torch.equal(again.frames, good.frames)
    third = kept.video(View(files[0]), "r", refused)
    assert third is not None
    assert torch.equal(third.frames, good.frames)


def test_a_body_is_compared_with_its_checksum_once_in_a_process(kept, files, monkeypatch):
    kept.video(View(files[0]), "r", lambda: read_all(files[0]))
    checked = []
    crc = entry.zlib.crc32

    def counted(data, *start):
        checked.append(memoryview(data).nbytes)
        return crc(data, *start)

    monkeypatch.setattr(entry.zlib, "crc32", counted)
    for _ in range(3):
        kept.video(View(files[0]), "r", refused)
    assert sum(size > 10_000 for size in checked) == 1
    pickle.loads(pickle.dumps(kept)).video(View(files[0]), "r", refused)
    assert sum(size > 10_000 for size in checked) == 2


def test_a_video_that_is_too_long_is_not_made(kept, files, monkeypatch):
    monkeypatch.setattr(cache, "MAX_FRAMES", 19)
    for _ in range(2):
        assert kept.video(View(files[0]), "r", refused) is None
    assert kept.video(View(files[0], end=1.0), "r", lambda: read_all(files[0], end=1.0)) is not None
    assert kept.video(View(files[0]), "few", lambda: read_all(files[0]), whole=False) is not None


def test_a_video_that_breaks_off_is_for_the_reader_to_judge(tmp_path, kept, write_video):
    """Moments before the damage can be read without a cache, and so they can with one."""
    whole = write_video(tmp_path / "a.mp4", 60, noise=True, container={"movflags": "faststart"})
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(VideoError):
        read_all(broken)
    assert read_frames(broken, [0.1]).shape[0] == 1
    attempts = []

    def make() -> DecodedVideo:
        attempts.append(1)
        return read_all(broken)

    for _ in range(3):
        assert kept.video(View(broken), "r", make) is None
    assert len(attempts) == 1
    assert list(kept.folder.glob("*.clip")) == []


def test_a_missing_file_is_for_the_reader_to_name(kept, tmp_path):
    assert kept.video(View(tmp_path / "gone.mp4"), "r", refused) is None
    dataset = ClipDataset(
        [Sample((View(Path("gone.mp4")),), "train", {})], [], SPREAD, train=True, cache=kept
    )
    with pytest.raises(VideoError, match=r"^gone\.mp4: no such file"):
        dataset[1, 0]


def failing(number: int) -> Callable[..., None]:
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fails


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "no space left on device"),
        (errno.EROFS, "read-only file system"),
        (errno.EDQUOT, "disk quota exceeded"),
        (errno.EIO, "input/output error"),
    ],
)
def test_when_writing_fails_training_goes_on_with_one_note(samples, kept, monkeypatch, number, reason):
    monkeypatch.setattr(os, "replace", failing(number))
    agree(samples, kept)
    assert list(kept.folder.glob("*.clip")) == list(kept.folder.glob("*.part")) == []
    assert kept.stats().stored == 0
    assert kept.notes() == [
        f"Clip cache: {kept.folder} cannot be written to any more ({reason}); clips that are not in it are "
        "decoded in every epoch"
    ]
    assert kept.notes() == []
    assert int((kept.folder / "size").read_text()) == 0


def test_after_a_failure_nothing_more_is_made_for_the_cache(kept, files, monkeypatch):
    monkeypatch.setattr(os, "replace", failing(errno.ENOSPC))
    assert kept.video(View(files[0]), "r", lambda: read_all(files[0])) is not None
    monkeypatch.undo()
    assert kept.video(View(files[1]), "r", refused) is None
    assert pickle.loads(pickle.dumps(kept)).video(View(files[1]), "r", refused) is None


def test_a_folder_that_vanishes_is_a_note_too(samples, kept):
    for path in kept.folder.iterdir():
        path.unlink()
    kept.folder.rmdir()
    agree(samples, kept)
    assert len(kept.notes()) == 1


def test_a_full_cache_keeps_what_it_has(samples, tmp_path):
    kept = ClipCache(tmp_path, 60_000)
    agree(samples, kept)
    before = sorted(tmp_path.glob("*.clip"))
    assert 1 <= len(before) < 8
    assert sum(path.stat().st_size for path in before) <= 62_000
    agree(samples, kept)
    assert sorted(tmp_path.glob("*.clip")) == before
    assert kept.notes() == [
        "Clip cache: full with 60 kB (--clip_cache_gb); clips that are not in it are decoded in every epoch"
    ]


def test_a_full_disk_in_earnest(samples, tmp_path):
    """A file system of 64 KB, as far as this user may have one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        kept = ClipCache(tmp_path / "clips", 10**9)
        agree(samples, kept)
        assert kept.stats().error == errno.ENOSPC
        assert "no space left" in kept.notes()[0]
        assert list(kept.folder.glob("*.part")) == []
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def _fill(folder: Path, files: list[Path], start: float, results) -> None:
    kept = ClipCache(folder, 10**9)
    time.sleep(max(start - time.time(), 0))
    for _ in range(3):
        for path in files:
            video = kept.video(View(path), "r", lambda path=path: read_all(path))
            assert video is not None
            results.put((path.name, entry.zlib.crc32(video.frames.contiguous().numpy().data)))


def test_two_runs_that_fill_it_at_once(tmp_path, files):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    start = time.time() + 0.5
    runs = [context.Process(target=_fill, args=(tmp_path, files, start, results)) for _ in range(2)]
    for run in runs:
        run.start()
    found = {results.get(timeout=60) for _ in range(2 * 3 * len(files))}
    for run in runs:
        run.join()
        assert run.exitcode == 0
    assert len(found) == len(files)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == ["", *[".clip"] * len(files)]
    kept = ClipCache(tmp_path, 10**9)
    assert all(kept.video(View(path), "r", refused) is not None for path in files)


def _fill_without_end(folder: Path, files: list[Path], ready) -> None:
    kept = ClipCache(folder, 10**9)
    ready.set()
    for n in range(10**6):
        for path in files:
            kept.video(View(path), str(n), lambda path=path: read_all(path))


def test_a_run_that_is_killed_while_it_fills_harms_no_later_one(tmp_path, files):
    context = multiprocessing.get_context("fork")
    for wait in (0.0, 0.05, 0.1, 0.15, 0.2):
        ready = context.Event()
        run = context.Process(target=_fill_without_end, args=(tmp_path, files, ready))
        run.start()
        assert ready.wait(60)
        time.sleep(wait)
        run.kill()
        run.join()
    kept = ClipCache(tmp_path, 10**9)
    for path in tmp_path.glob("*.clip"):
        assert entry.read(path, lambda _: False) is not None
    for path in files:
        video = kept.video(View(path), "0", lambda path=path: read_all(path))
        assert video is not None
        assert torch.equal(video.frames, read_all(path).frames)


def test_it_holds_no_file_open_but_the_counters(kept, files):
    before = len(os.listdir("/proc/self/fd"))
    found = [kept.video(View(path), "r", lambda path=path: read_all(path)) for path in files * 2]
    assert len(os.listdir("/proc/self/fd")) == before
    assert all(found)


def test_it_can_be_pickled(kept, files):
    kept.video(View(files[0]), "r", lambda: read_all(files[0]))
    other = pickle.loads(pickle.dumps(kept))
    assert other.folder == kept.folder
    assert other.video(View(files[0]), "r", refused) is not None


def test_in_ram_it_goes_with_the_run(tmp_path, files, monkeypatch):
    monkeypatch.setattr(cache.ram, "TMPFS", tmp_path / "shm")
    (tmp_path / "shm").mkdir()
    room = Room(10**9, 10**9, tmp_path / "clips")
    choice = choose("auto", expect([View(path) for path in files], 20), room, reads=2)
    kept = open_cache(choice)
    assert kept is not None
    assert kept.folder.parent == tmp_path / "shm"
    kept.video(View(files[0]), "r", lambda: read_all(files[0]))
    copy = pickle.loads(pickle.dumps(kept))
    copy.close()
    del copy
    assert len(list(kept.folder.glob("*.clip"))) == 1
    kept.close()
    kept.close()
    assert list((tmp_path / "shm").iterdir()) == []


def test_on_disk_it_stays(tmp_path, files):
    choice = choose("disk", expect([], 20), Room(None, 10**9, tmp_path / "clips"), reads=2)
    kept = open_cache(choice)
    assert kept is not None
    kept.video(View(files[0]), "r", lambda: read_all(files[0]))
    kept.close()
    assert len(list((tmp_path / "clips").glob("*.clip"))) == 1


def test_off_is_no_cache(tmp_path):
    assert open_cache(choose("off", expect([], 20), Room(None, None, tmp_path), reads=2)) is None
