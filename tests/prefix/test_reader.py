from __future__ import annotations

import gc
import threading
import time
import traceback
from collections.abc import Iterator

import pytest
import torch

from unfreeze.prefix.reader import prefetch


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    assert [thread.name for thread in threading.enumerate() if "reader" in thread.name] == []


def wait_until(true) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_all_batches_in_their_order(depth, count):
    assert list(prefetch(range(count), lambda batch: batch * 10, depth)) == [10 * n for n in range(count)]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_it_is_ahead_by_depth_and_no_more(depth):
    begun: list[int] = []

    def batches() -> Iterator[int]:
        for n in range(20):
            begun.append(n)
            yield n

    ahead = prefetch(batches(), lambda batch: batch, depth)
    assert begun == []
    for taken, batch in enumerate(ahead, 1):
        assert batch == taken - 1
        wait_until(lambda taken=taken: len(begun) == min(taken + depth, 20))
        time.sleep(0.002)
        assert len(begun) == min(taken + depth, 20)


def test_without_depth_there_is_no_thread():
    where = list(prefetch([1, 2], lambda batch: threading.current_thread(), 0))
    assert where == [threading.main_thread()] * 2


def test_with_depth_there_is_one_and_batches_begin_in_the_callers():
    class Batches:
        def __iter__(self) -> Iterator[threading.Thread]:
            began.append(threading.current_thread())
            return (threading.current_thread() for _ in range(3))

    began: list[threading.Thread] = []
    made = list(prefetch(Batches(), lambda batch: (batch, threading.current_thread())))
    assert began == [threading.main_thread()]
    assert len({thread for pair in made for thread in pair}) == 1
    assert made[0][0] is not threading.main_thread()


class BrokenError(Exception):
    pass


def breaks(batch: int) -> int:
    if batch == 2:
        raise BrokenError("at two")
    return batch


def breaking() -> Iterator[int]:
    yield from (0, 1)
    raise BrokenError("at two")


@pytest.mark.parametrize("depth", [0, 1, 2, 9])
@pytest.mark.parametrize("where", ["assemble", "batches"])
def test_an_exception_comes_where_its_batch_would_with_its_traceback(depth, where):
    ahead = (
        prefetch(range(9), breaks, depth)
        if where == "assemble"
        else prefetch(breaking(), lambda batch: batch, depth)
    )
    taken = []
    with pytest.raises(BrokenError, match="at two") as caught:
        taken.extend(ahead)
    assert taken in ([0, 1], [])  # list.extend keeps nothing
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-1] == ("breaks" if where == "assemble" else "breaking")
    assert next(ahead, "ended") == "ended"


def test_an_exception_does_not_come_early():
    ahead = prefetch(range(9), breaks, 5)
    assert next(ahead) == 0
    time.sleep(0.02)
    assert next(ahead) == 1
    with pytest.raises(BrokenError):
        next(ahead)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("how", ["break", "error", "interrupt", "close", "forgotten"])
def test_a_loop_that_is_left_leaves_nothing(depth, how):
    closed = []

    def endless() -> Iterator[int]:
        try:
            n = 0
            while True:
                yield (n := n + 1)
        finally:
            closed.append(threading.current_thread())

    if how == "close":
        ahead = prefetch(endless(), lambda batch: batch, depth)
        assert next(ahead) == 1
        ahead.close()
    elif how == "forgotten":
        assert next(prefetch(endless(), lambda batch: batch, depth)) == 1
    elif how == "break":
        for batch in prefetch(endless(), lambda batch: batch, depth):
            if batch == 3:
                break
    else:
        error = {"error": BrokenError, "interrupt": KeyboardInterrupt}[how]

        def train() -> None:
            for batch in prefetch(endless(), lambda batch: batch, depth):
                if batch == 3:
                    raise error

        with pytest.raises(error):
            train()
    gc.collect()
    assert closed == [threading.main_thread()]


def test_closing_waits_for_the_batch_at_hand():
    at_hand, done = threading.Event(), []

    def assemble(batch: int) -> int:
        if batch == 1:
            at_hand.set()
            time.sleep(0.05)
            done.append(batch)
        return batch

    ahead = prefetch(range(9), assemble)
    assert next(ahead) == 0
    assert at_hand.wait(30)
    ahead.close()
    assert done == [1]


def test_one_that_is_never_begun():
    ahead = prefetch(range(3), lambda batch: batch)
    assert not [thread for thread in threading.enumerate() if "reader" in thread.name]
    ahead.close()


def test_waiting_is_for_the_caller_to_measure():
    go = threading.Semaphore(0)

    def assemble(batch: int) -> int:
        go.acquire()
        return batch

    ahead = prefetch(range(2), assemble)
    threading.Timer(0.1, go.release, [2]).start()
    started = time.perf_counter()
    assert next(ahead) == 0
    assert time.perf_counter() - started > 0.05
    ahead.close()


def test_nothing_is_held_that_was_taken():
    class Big:
        pass

    def alive() -> int:
        return sum(type(thing) is Big for thing in gc.get_objects())

    ahead = prefetch(range(9), lambda batch: Big(), 2)
    for _ in range(5):
        batch = next(ahead)
        assert alive() <= 4  # the one in hand, two ahead, and the one that is handed over
        del batch
    wait_until(lambda: alive() in (2, 3))
    ahead.close()
    assert alive() == 0


@pytest.mark.parametrize("depth", [0, 2])
def test_gradients_are_off_while_a_batch_is_assembled(depth):
    assert list(prefetch([1], lambda batch: torch.is_grad_enabled(), depth)) == [False]
    assert torch.is_grad_enabled()


def test_a_negative_depth():
    with pytest.raises(ValueError, match="depth must be at least 0, not -1"):
        prefetch([1], lambda batch: batch, -1)
