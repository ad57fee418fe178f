"""What holds for every test."""

from __future__ import annotations

import os

# Before torch is imported, here and in the processes that tests start: on a busy machine several threads wait
# for each other longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# A machine that is busy with other tests is slow, not wrong.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
