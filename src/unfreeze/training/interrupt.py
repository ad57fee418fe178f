"""Ctrl-C: the first one ends the run at the next batch, the second one ends the program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The user asked to stop; ``last.pt`` holds the last whole epoch."""


class Interrupt:
    """While active, notes a Ctrl-C instead of raising it amid a step; ``watch`` then ends a loop.

    Outside the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, self._before)

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """The items, until the user asks to stop.

        Raises:
            Interrupted: at the first item after that.
        """
        for item in items:
            self.check()
            yield item

    def check(self) -> None:
        """Raises Interrupted once the user has asked to stop."""
        if self.requested:
            raise Interrupted
