"""What happened to a store, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """Counts since the store was opened.

    Attributes:
        hits: samples that ``get`` gave.
        misses: samples that were computed, and came by ``put``.
        rows: that were taken in by ``put``, into any tier.
        memory_bytes: of the rows that are in the front tier now.
        written_bytes: of the shards that were written.
        read_seconds: that ``get`` took; on a GPU, without what it has yet to do then.
        put_seconds: that ``put`` took, with waiting for a slow disk.
        write_seconds: that a background thread took to write shards.
    """

    hits: int = 0
    misses: int = 0
    rows: int = 0
    memory_bytes: int = 0
    written_bytes: int = 0
    read_seconds: float = 0.0
    put_seconds: float = 0.0
    write_seconds: float = 0.0
