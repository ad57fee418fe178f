"""Several training runs at once that work in turn, an epoch each, so that a machine's moods hit all alike.

Every run is a process of its own at the end of a pipe. It works only while it has the turn, and keeps its
own time: what it waits for its next turn does not count. Who goes first changes from round to round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

GO, READY, PAUSED, DONE = "go", "ready", "paused", "done"


class Turns:
    """The run's end: waits for the turn, gives it back, and counts the seconds between.

    Args:
        connection: to ``take_turns``.
        at_rest: called whenever the clock stands still, before the turn is given back.
    """

    def __init__(self, connection: Connection, at_rest: Callable[[], None] = lambda: None) -> None:
        self.seconds: list[float] = []
        self._connection = connection
        self._at_rest = at_rest
        self._started = 0.0

    def begin(self) -> None:
        """Say that all imports are done, and wait for the first turn."""
        self._send(READY)
        self._wait()

    def give_back(self) -> None:
        """Let the others work, and wait for the next turn."""
        self._stop()
        self._send(PAUSED)
        self._wait()

    def finish(self, result: Mapping[str, Any]) -> None:
        """Hand ``result`` over, with the seconds of every turn; ``at_rest`` may still add to it."""
        self._stop()
        self._send(DONE, {**result, "turns": self.seconds})

    def _stop(self) -> None:
        self.seconds.append(time.perf_counter() - self._started)
        self._at_rest()

    def _send(self, kind: str, content: Any = None) -> None:
        self._connection.send((kind, content))

    def _wait(self) -> None:
        self._connection.recv()
        self._started = time.perf_counter()


class BrokenRunError(RuntimeError):
    """A run ended before it was done; the message is its name."""


def take_turns(
    runs: Mapping[str, Connection], said: Callable[[int, str], None] = lambda round_, name: None
) -> dict[str, Any]:
    """Let ``runs`` work one at a time until all are done, and give the result of each.

    Args:
        said: told of every turn when it is over: its round, from 0, and whose it was.

    Raises:
        BrokenRunError: a run ended without a result.
    """
    results: dict[str, Any] = {}
    for name, connection in runs.items():
        _receive(name, connection)  # all have started before one works
    waiting, round_ = list(runs), 0
    while waiting:
        first = round_ % len(waiting)
        for name in waiting[first:] + waiting[:first]:
            try:
                runs[name].send(GO)
            except BrokenPipeError:
                raise BrokenRunError(name) from None
            kind, content = _receive(name, runs[name])
            if kind == DONE:
                results[name] = content
            said(round_, name)
        waiting = [name for name in waiting if name not in results]
        round_ += 1
    return {name: results[name] for name in runs}


def _receive(name: str, connection: Connection) -> tuple[str, Any]:
    try:
        return connection.recv()
    except EOFError:
        raise BrokenRunError(name) from None
