"""Signals between threads."""

import threading

import pytest

from otel_sgp_exporter._latch import Call, Latch


def test_a_call_is_used_up_by_whoever_waits_for_it() -> None:
    """Given twice is given once."""
    call = Call()
    assert not call.wait(0)
    call.give()
    call.give()
    assert call.wait(0)
    assert not call.wait(0)


def test_a_call_ends_the_wait_of_another_thread() -> None:
    """At once, and not with the time-out."""
    call = Call()
    threading.Timer(0.05, call.give).start()
    assert call.wait(20)


def test_what_a_signal_handler_raises_while_a_call_is_given_is_raised() -> None:
    """Even if it is a kind of the error that a lock raises."""

    class TimeIsUpError(RuntimeError):
        pass

    class Interrupted:
        def release(self) -> None:
            raise TimeIsUpError

    call = Call()
    call._lock = Interrupted()  # type: ignore[assignment]
    with pytest.raises(TimeIsUpError):
        call.give()


def test_a_latch_stays_set() -> None:
    """For those who wait already, and for those who come later."""
    latch = Latch()
    assert not latch.wait(0)
    threading.Timer(0.05, latch.set).start()
    assert latch.wait(20)
    assert latch.wait(0)
    assert latch.is_set()
