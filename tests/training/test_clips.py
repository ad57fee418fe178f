"""What the cache of decoded clips is for: what is read again."""

from __future__ import annotations

from contextlib import closing

import pytest
import torch

from unfreeze.data import load_manifest
from unfreeze.data.clip_cache import Room
from unfreeze.data.transforms import training_side
from unfreeze.preprocessing import Preprocessing
from unfreeze.training import clips as module
from unfreeze.training.clips import make_cache, make_loaders
from unfreeze.training.config import TrainConfig
from unfreeze.wording import in_bytes

SMALL = Preprocessing(frames=4, resize=32, crop=(32, 32), mean=(0.5,) * 3, std=(0.2,) * 3)


@pytest.fixture
def parts(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "measure_room", lambda: Room(None, 10**9, tmp_path / "kept"))
    config = TrainConfig(data=str(clips), batch_size=4, workers=0)
    return config, load_manifest(config.data), SMALL


def size(line: str) -> str:
    return line.split("about ")[1].split(" of clips")[0]


def test_clips_that_are_read_again_are_kept(parts):
    cache, line = make_cache(*parts, reads=2.5)
    assert cache is not None
    assert line.startswith("Clip cache: on disk")


def test_clips_that_are_read_once_are_not(parts):
    assert make_cache(*parts, reads=1.0, val_once=True) == (None, "Clip cache: off, as no clip is read twice")


def test_validation_clips_that_are_read_once_take_no_room(parts):
    both, training = (make_cache(*parts, reads=3, val_once=once)[1] for once in (False, True))
    kept = 6 * 16 * 3 * training_side(SMALL) ** 2  # all frames of each, of 64 pixels before
    assert size(training) == in_bytes(kept)
    assert size(both) == in_bytes(kept + 3 * 4 * 3 * 32**2)
    assert size(training) != size(both)


@pytest.mark.parametrize(("val_once", "stored"), [(False, 9), (True, 6)])
def test_validation_clips_that_are_read_once_are_not_kept(parts, val_once, stored):
    cache, _ = make_cache(*parts, reads=3, val_once=val_once)
    assert cache is not None
    with closing(cache):
        loaders = make_loaders(*parts, torch.device("cpu"), cache=cache, val_once=val_once)
        for loader in loaders:
            list(loader)
        assert cache.stats().stored == stored
