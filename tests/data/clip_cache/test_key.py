from __future__ import annotations

import os
from pathlib import Path

import pytest

from unfreeze.data import View, identity
from unfreeze.data.clip_cache import key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """300 KB, changed last at a certain time."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(range(256)) * 1200)
    os.utime(path, ns=(5, 1_000_000))
    return path


def name(view: View, recipe: str = "side 40", decoder: str = "pyav") -> str:
    return key.name_of(view, recipe, decoder, {})


def test_the_same_things_have_the_same_name(file):
    assert name(View(file)) == name(View(file))
    assert len(name(View(file))) == 32


def test_an_entry_is_found_again_after_the_data_moved(file, tmp_path):
    before = name(View(file))
    moved = file.rename(tmp_path / "elsewhere.mp4")
    assert name(View(moved)) == before


@pytest.mark.parametrize(
    ("view", "recipe", "decoder"),
    [
        ({"start": 1.0}, "side 40", "pyav"),
        ({"end": 1.0}, "side 40", "pyav"),
        ({"start": 0.0}, "side 40", "pyav"),
        ({}, "side 41", "pyav"),
        ({}, "side 40", "torchcodec"),
    ],
)
def test_what_changes_the_frames_changes_the_name(file, view, recipe, decoder):
    pytest.importorskip("torchcodec")
    assert name(View(file, **view), recipe, decoder) != name(View(file))


@pytest.mark.parametrize("where", [0, 65_535, 242_000, 307_199])
def test_a_file_with_another_byte_at_either_end_is_another(file, where):
    before = name(View(file))
    data = bytearray(file.read_bytes())
    data[where] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(5, 1_000_000))
    assert name(View(file)) != before


@pytest.mark.parametrize("change", ["time", "length"])
def test_a_file_that_changed_in_the_middle_is_another(file, change):
    before = name(View(file))
    if change == "length":
        data = file.read_bytes()
        file.write_bytes(data[:100_000] + b"more" + data[100_000:])
    os.utime(file, ns=(5, 1_000_000 + (change == "time")))
    assert name(View(file)) != before


def test_a_known_digest_is_taken_as_long_as_the_file_is_the_same(file, monkeypatch):
    digests: identity.Digests = {}
    first = key.name_of(View(file), "side 40", "pyav", digests)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_: pytest.fail("read a second time"))
        assert key.name_of(View(file), "side 40", "pyav", digests) == first
    file.write_bytes(b"other")
    assert key.name_of(View(file), "side 40", "pyav", digests) != first


def test_a_short_file_has_a_name(tmp_path):
    (tmp_path / "short.mp4").write_bytes(b"x")
    assert name(View(tmp_path / "short.mp4"))


def test_a_missing_file_has_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        name(View(tmp_path / "gone.mp4"))


def test_other_versions_and_other_code_decode_anew(file, monkeypatch):
    before = name(View(file))
    for module, attribute, value in (
        (key, "VERSION", key.VERSION + 1),
        (identity, "_sources", lambda: [file]),
    ):
        identity.surroundings.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(module, attribute, value)
            assert name(View(file)) != before
    identity.surroundings.cache_clear()
    assert name(View(file)) == before


def test_the_code_that_decodes_is_found():
    names = {source.name for source in identity._sources()}
    assert {"pyav.py", "frames.py"} <= names
