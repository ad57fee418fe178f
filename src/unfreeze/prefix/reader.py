"""The next batches, made in a background thread while the step runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

Batch = TypeVar("Batch")
Ready = TypeVar("Ready")
Made = Generator[Ready, None, None]


@dataclass(frozen=True)
class _Made(Generic[Ready]):
    batch: Ready


@dataclass(frozen=True)
class _Failed:
    error: BaseException


def prefetch(batches: Iterable[Batch], assemble: Callable[[Batch], Ready], depth: int = 2) -> Made[Ready]:
    """``map(assemble, batches)``, up to ``depth`` batches ahead of the caller.

    ``iter(batches)`` is called in the caller's thread (a loader draws from torch's generator then, and
    numbers must not depend on who comes first), everything else in a thread of its own, one batch after the
    other. An exception comes out where its batch would, with its traceback. What is returned is a generator:
    how long ``next`` takes is how long the caller waits, and when it is closed, which also happens when a
    loop over it is left in any way, the thread ends with the batch that it is at. Close it by name
    (``contextlib.closing``) where an exception may keep it alive.

    Args:
        assemble: of a batch, what the caller wants of it. Gradients are off; autocast and the like are its
            own to set, as they hold in one thread only.
        depth: batches that are made or being made, and not taken; 0 is no thread.

    Raises:
        ValueError: ``depth`` is negative.
    """
    if depth < 0:
        raise ValueError(f"depth must be at least 0, not {depth}")
    return _ahead(batches, assemble, depth) if depth else _in_step(batches, assemble)


def _in_step(batches: Iterable[Batch], assemble: Callable[[Batch], Ready]) -> Made[Ready]:
    for batch in batches:
        with torch.no_grad():
            ready = assemble(batch)
        yield ready


def _ahead(batches: Iterable[Batch], assemble: Callable[[Batch], Ready], depth: int) -> Made[Ready]:
    source = iter(batches)
    stream = _stream()
    made: queue.SimpleQueue[_Made[Ready] | _Failed | None] = queue.SimpleQueue()
    room = threading.Semaphore(depth)
    closed = threading.Event()

    def work() -> None:
        try:
            with torch.no_grad(), stream:
                while True:
                    room.acquire()
                    if closed.is_set():
                        return
                    try:
                        batch = next(source)
                    except StopIteration:
                        made.put(None)
                        return
                    made.put(_Made(assemble(batch)))
                    del batch
        except BaseException as error:
            made.put(_Failed(error))

    thread = threading.Thread(target=work, name="prefix-cache-reader", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, _Failed):
                error = item.error
                del item
                try:
                    raise error
                finally:
                    del error  # its traceback has this frame, which would have it
            ready = item.batch
            del item
            room.release()
            yield ready
            del ready
    finally:
        closed.set()
        room.release()
        thread.join()
        if hasattr(source, "close"):  # a generator, which is closed by now if it ended
            source.close()


def _stream() -> AbstractContextManager[Any]:
    """Work goes to the caller's stream of the caller's GPU, as if it had been done there."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.stream(torch.cuda.current_stream())
    return nullcontext()
