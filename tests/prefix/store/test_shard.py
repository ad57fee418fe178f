from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unfreeze.prefix.store import Spec, shard
from unfreeze.prefix.store.shard import DamagedError, ForeignError

SPEC = Spec(((3,), ()), (torch.bfloat16, torch.int64))
ENTRIES = np.array([(4, 1, 0), (0, 2, 2)], np.int64)


def leaves(rows: int = 5) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (rows, width), np.uint8) for width in SPEC.leaf_bytes]


def content(rows: int = 5) -> bytes:
    return b"".join(bytes(part) for part in shard.pack("k", SPEC, ENTRIES, leaves(rows)))


@pytest.mark.parametrize("rows", [1, 5, 32, 100])
def test_what_is_read_is_what_was_packed(tmp_path, rows):
    path = tmp_path / "a"
    path.write_bytes(content(rows))
    header = shard.read_header(path, "k", SPEC)
    assert header.entries.tolist() == ENTRIES.tolist()
    assert header.rows == rows
    for check in (True, False):
        for found, expected in zip(
            shard.read_leaves(path, SPEC, header, check=check), leaves(rows), strict=True
        ):
            assert np.array_equal(found, expected)
            assert found.ctypes.data % 64 == 0


def test_its_form(tmp_path):
    """As it is written down on top of the module; another one wants another magic."""
    whole = content()
    magic, head, about, entries, crc, size = struct.unpack("<8sIIQIQ", whole[:36])
    assert magic == b"unfrzpx1"
    begin = 36 + about + 24 * entries
    assert head == zlib.crc32(whole[12:begin])
    assert whole[36 : 36 + about] == (
        b'{"key": "k", "shapes": [[3], []], "dtypes": ["torch.bfloat16", "torch.int64"], "rows": 5}'
    )
    assert np.frombuffer(whole[36 + about : begin], "<i8").tolist() == [4, 1, 0, 0, 2, 2]
    begin += -begin % 64
    assert len(whole) == begin + size
    assert crc == zlib.crc32(whole[begin:])
    assert whole[begin : begin + 30] == leaves()[0].tobytes()
    assert whole[begin + 64 : begin + 104] == leaves()[1].tobytes()


@pytest.mark.parametrize(
    ("key", "spec"),
    [
        ("other", SPEC),
        ("k", Spec(((3,),), (torch.bfloat16,))),
        ("k", Spec(((3,), ()), (torch.float16, torch.int64))),
        ("k", Spec(((3, 1), ()), (torch.bfloat16, torch.int64))),
    ],
    ids=["key", "leaves", "dtype", "shape"],
)
def test_of_another_cache(tmp_path, key, spec):
    (tmp_path / "a").write_bytes(content())
    with pytest.raises(ForeignError):
        shard.read_header(tmp_path / "a", key, spec)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(data=st.data())
def test_a_torn_or_altered_shard_is_refused_wherever_the_damage_is(tmp_path, data):
    path, whole = tmp_path / "a", bytearray(content())
    at = data.draw(st.integers(0, len(whole) - 1))
    about, entries = struct.unpack("<IQ", whole[12:24])
    end = 36 + about + 24 * entries
    if data.draw(st.booleans()):
        whole = whole[:at]
    elif not end <= at < end + -end % 64:  # the few bytes between header and body mean nothing
        whole[at] ^= data.draw(st.integers(1, 255))
    else:
        return
    path.write_bytes(whole)
    with pytest.raises(DamagedError):
        shard.read_leaves(path, SPEC, shard.read_header(path, "k", SPEC))


def test_one_that_is_gone_or_shorter_by_now(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(content(5000))
    header = shard.read_header(path, "k", SPEC)
    path.write_bytes(content(5000)[:100])
    with pytest.raises(DamagedError, match="cannot be mapped"):
        shard.read_leaves(path, SPEC, header)
    path.unlink()
    with pytest.raises(DamagedError, match="cannot be mapped"):
        shard.read_leaves(path, SPEC, header)


def test_what_is_done_to_the_rows_does_not_reach_the_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(content())
    header = shard.read_header(path, "k", SPEC)
    shard.read_leaves(path, SPEC, header)[0][:] = 0
    assert np.array_equal(shard.read_leaves(path, SPEC, header)[0], leaves()[0])
