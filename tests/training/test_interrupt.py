import signal
import threading

import pytest

from unfreeze.training.interrupt import Interrupt, Interrupted


@pytest.fixture
def pythons_own():
    """Python's handler, also where the tests run in the background, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_the_first_ctrl_c_ends_the_loop_between_two_items_and_the_second_is_pythons_own(pythons_own):
    seen = []

    def work(items):
        for item in items:
            seen.append(item)
            if item == 2:
                signal.raise_signal(signal.SIGINT)
                seen.append("finished")

    with Interrupt() as interrupt:
        with pytest.raises(Interrupted):
            work(interrupt.watch([1, 2, 3]))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert seen == [1, 2, "finished"]
    assert signal.getsignal(signal.SIGINT) is pythons_own


def test_outside_the_main_thread_it_is_inert():
    seen = []

    def work():
        with Interrupt() as interrupt:
            seen.extend(interrupt.watch([1, 2]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [1, 2]
