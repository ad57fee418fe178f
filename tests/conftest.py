"""What holds for every test."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# Before torch is imported, here and in the processes that tests start: on a busy machine several threads wait
# for each other longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What is kept for later runs (checks, clips) is kept apart from the user's own, here and in those processes.
os.environ["UNFREEZE_CACHE"] = tempfile.mkdtemp(prefix="unfreeze-tests-")
atexit.register(shutil.rmtree, os.environ["UNFREEZE_CACHE"], ignore_errors=True)

from hypothesis import settings  # noqa: E402

# A machine that is busy with other tests is slow, not wrong.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
