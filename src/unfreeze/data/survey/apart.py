"""Work in other processes that may die of it: a decoder that crashes costs the file, not the run.

An executor of the standard library is broken for good when one of its processes dies, and does not say over
which job. Here each process has a pipe and one job at a time, so both are known.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import torch

J = TypeVar("J")
R = TypeVar("R")
Beat = Callable[[], None]
Work = Callable[[J, Beat], R]

_SECONDS_BETWEEN_BEATS = 1.0
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Died:
    """The process that did the job is gone.

    Attributes:
        code: its exit code, below 0 for the signal that ended it.
        silent: it was ended from here, having said nothing for too long.
    """

    code: int | None
    silent: bool = False


def done_apart(
    work: Work[J, R], jobs: Sequence[J], *, workers: int, patience: float
) -> Iterator[tuple[J, R | Died]]:
    """Each job with what ``work(job, beat)`` made of it, as they come.

    Args:
        work: a function that can be pickled; it calls ``beat()`` as long as it gets on. What it raises ends
            its process.
        workers: processes; 0 works in this one, where a crash is a crash.
        patience: seconds without a beat after which a process is ended.
    """
    if workers == 0:
        for job in jobs:
            yield job, work(job, lambda: None)
        return
    waiting = deque(jobs)
    crew: list[_Worker[J]] = []
    try:
        while waiting or any(worker.busy for worker in crew):
            idle = [worker for worker in crew if not worker.busy]
            while waiting and (idle or len(crew) < workers):
                if not idle:
                    idle.append(_hire(work))
                    crew.append(idle[-1])
                idle.pop().begin(waiting.popleft())
            yield from _news(crew, patience)
    finally:
        for worker in crew:
            worker.dismiss()


@dataclass
class _Worker(Generic[J]):
    process: BaseProcess
    pipe: Connection
    job: list[J] = field(default_factory=list)  # none or one
    heard: float = 0.0

    @property
    def busy(self) -> bool:
        return bool(self.job)

    def begin(self, job: J) -> None:
        self.job, self.heard = [job], time.monotonic()
        with suppress(OSError):  # where it has died since its last job, the pipe will say so
            self.pipe.send(job)

    def dismiss(self) -> None:
        # Not by closing the pipe: processes that were started later hold a copy of this end of it.
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _hire(work: Work[J, Any]) -> _Worker[J]:
    # The start method is the platform's own, as it is for the workers of the loader.
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()  # so that the end of the process ends the pipe
    return _Worker(process, ours)


def _news(crew: list[_Worker[J]], patience: float) -> Iterator[tuple[J, Any]]:
    """What the busy ones have finished, after a second at the latest; the dead leave the crew."""
    busy = {worker.pipe: worker for worker in crew if worker.busy}
    for pipe in wait(list(busy), timeout=_SECONDS_BETWEEN_LOOKS):
        assert isinstance(pipe, Connection)
        worker = busy[pipe]
        worker.heard = time.monotonic()
        try:
            answer = pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            yield _buried(crew, worker, silent=False)
        else:
            if answer:  # otherwise a beat
                yield worker.job.pop(), answer[0]
    for worker in busy.values():
        if worker.busy and time.monotonic() - worker.heard > patience:
            worker.process.kill()
            worker.process.join()
            yield _buried(crew, worker, silent=True)


def _buried(crew: list[_Worker[J]], worker: _Worker[J], *, silent: bool) -> tuple[J, Died]:
    crew.remove(worker)
    worker.pipe.close()
    return worker.job.pop(), Died(worker.process.exitcode, silent)


def _serve(work: Work[Any, Any], pipe: Connection) -> None:
    # Ctrl-C reaches every process of the terminal; the parent ends in order, and its workers with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)  # as in the loader's workers: a forked process has no other threads
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_BEATS:
            last = time.monotonic()
            pipe.send(())

    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send((work(job, beat),))
