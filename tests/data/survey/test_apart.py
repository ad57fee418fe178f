from __future__ import annotations

import os
import signal
import time

import pytest

from unfreeze.data.survey.apart import Died, done_apart


def double(job, beat):
    beat()
    return 2 * job


def treacherous(job, beat):
    """13 ends the process, 14 with a signal; 15 hangs."""
    if job == 13:
        os._exit(3)
    if job == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    if job == 15:
        time.sleep(60)
    return 2 * job


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_job_is_done_once(workers):
    done = dict(done_apart(double, range(10), workers=workers, patience=60))
    assert done == {job: 2 * job for job in range(10)}


def test_nothing_to_do():
    assert list(done_apart(double, [], workers=2, patience=60)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_kills_its_process_costs_no_other(workers):
    done = dict(done_apart(treacherous, [1, 13, 2, 14, 3, 13, 4], workers=workers, patience=60))
    assert done == {1: 2, 2: 4, 3: 6, 4: 8, 13: Died(3), 14: Died(-signal.SIGKILL)}


def test_a_job_that_hangs_is_ended():
    done = dict(done_apart(treacherous, [1, 15, 2], workers=1, patience=0.3))
    assert done == {1: 2, 2: 4, 15: Died(-signal.SIGKILL, silent=True)}


def slow_but_alive(job, beat):
    until = time.monotonic() + 3.5
    while time.monotonic() < until:
        time.sleep(0.05)
        beat()
    return job


def test_who_beats_is_not_ended():
    assert list(done_apart(slow_but_alive, [1], workers=1, patience=2.5)) == [(1, 1)]


def where(job, beat):
    time.sleep(0.2)
    return os.getpid()


def test_processes_end_with_the_caller_also_one_that_stops_listening():
    running = done_apart(where, range(100), workers=2, patience=60)
    pids = {next(running)[1] for _ in range(3)}
    assert os.getpid() not in pids
    running.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
