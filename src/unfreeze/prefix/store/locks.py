"""Locks on open files, which the system lets go when their process ends, however it ends.

They hold between processes, also of several containers. A child process has a copy of every lock that its
parent had when it began, so a lock that is not needed any more is to be let go, and not just closed. Where
the system or the file system has no such locks, nobody waits for anybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(descriptor: int) -> Iterator[None]:
    """Wait until nobody else is here."""
    if fcntl is None:
        yield
        return
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        let_go(descriptor)


def share(descriptor: int) -> None:
    """Hold a file, together with whoever else does."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)


def let_go(descriptor: int) -> None:
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def is_free(descriptor: int) -> bool:
    """Whether no process holds the file; False where that cannot be known."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    let_go(descriptor)
    return True
