"""What frozen blocks gave for each clip, kept for the next epoch and for the next run.

A row is a few tensors (``spec``). Rows are kept in memory (``front``), and behind it in a folder (``back``):
in files of many rows (``shard``), in a folder of bounded size that several processes may use (``folder``).
``store`` puts both together; ``room`` says which of them to use, by what is needed and what is free.
"""

from unfreeze.prefix.store.folder import has_shards
from unfreeze.prefix.store.room import Room, Tier, choose, measure_room
from unfreeze.prefix.store.spec import Spec
from unfreeze.prefix.store.stats import Stats
from unfreeze.prefix.store.store import ActivationStore

__all__ = ["ActivationStore", "Room", "Spec", "Stats", "Tier", "choose", "has_shards", "measure_room"]
