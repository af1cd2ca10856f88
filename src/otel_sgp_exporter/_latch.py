"""Signals between threads, also to the application's: there, signal handlers may run at any moment, and raise."""

from __future__ import annotations

import threading


class Call:
    """What one thread waits for. Waiting uses it up.

    An `Event` may be left with a lock taken by a handler that raises, and up to Python 3.12 a `SimpleQueue` waits for
    ever when a handler runs for longer than there was time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def give(self) -> None:
        """From any thread, even from within another `give`. Once more before anybody waits makes no difference."""
        try:
            self._lock.release()
        except RuntimeError as error:
            if type(error) is not RuntimeError:  # not "release unlocked lock", but a signal handler's
                raise

    def wait(self, seconds: float) -> bool:
        """Wait for it, at most so long; whether it was given."""
        try:
            return self._lock.acquire(timeout=max(seconds, 0.0))
        except AssertionError:  # gevent runs signal handlers where nothing may wait
            return False


class Latch:
    """A signal that stays given. May be made before gevent exchanges locks for its own: there is none in here yet."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: set[Call] = set()

    def is_set(self) -> bool:
        """Whether the signal was given."""
        return self._is_set

    def set(self) -> None:
        """Give the signal."""
        self._is_set = True
        for waiter in self._waiters.copy():
            waiter.give()

    def wait(self, seconds: float) -> bool:
        """Wait for it, at most so long; whether it was given."""
        waiter = Call()
        try:
            self._waiters.add(waiter)
            if not self._is_set:  # looked at last: who gives the signal from now on knows the waiter
                waiter.wait(seconds)
        finally:
            self._waiters.discard(waiter)
        return self._is_set
