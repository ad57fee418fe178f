"""Decoded clips, kept for the next epoch, so that training does not wait for the decoder a second time.

Training takes other moments and crops of a video in every epoch, so all frames of a view are kept: as uint8,
shrunk as training shrinks them anyway, each with its time. Evaluation takes the same moments again and again,
and just those are kept. A run with the cache sees the same bits as one without.

An entry is a file (``entry``), named after everything that its content depends on (``key``), in a folder of
bounded size (``folder``): below the user's cache on disk, kept for later runs, or in a tmpfs, which is RAM,
for one run (``ram``). ``choice`` says which, by what is to be expected (``expected``) and what is free.
"""

from unfreeze.data.clip_cache.cache import ClipCache, open_cache
from unfreeze.data.clip_cache.choice import Choice, Room, choose, measure_room
from unfreeze.data.clip_cache.counters import Stats
from unfreeze.data.clip_cache.expected import MAX_FRAMES, Expected, expect

__all__ = [
    "MAX_FRAMES",
    "Choice",
    "ClipCache",
    "Expected",
    "Room",
    "Stats",
    "choose",
    "expect",
    "measure_room",
    "open_cache",
]
