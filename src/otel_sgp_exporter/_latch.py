"""A signal that stays given."""

from __future__ import annotations

import queue
from contextlib import suppress


class Latch:
    """A `threading.Event` for signals that threads of the application give, once and for all.

    A signal handler that raises within `Event.set` can leave the lock in there taken. In here there is none, so that a
    latch may also be made before gevent exchanges locks for its own.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: set[queue.SimpleQueue[None]] = set()

    def is_set(self) -> bool:
        """Whether the signal was given."""
        return self._is_set

    def set(self) -> None:
        """Give the signal."""
        self._is_set = True
        for waiter in self._waiters.copy():
            waiter.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait for it, at most so long; whether it was given."""
        waiter: queue.SimpleQueue[None] = queue.SimpleQueue()
        try:
            self._waiters.add(waiter)
            if not self._is_set:  # looked at last: who gives the signal from now on knows the waiter
                with suppress(queue.Empty):
                    waiter.get(timeout=max(seconds, 0.0))
        finally:
            self._waiters.discard(waiter)
        return self._is_set
