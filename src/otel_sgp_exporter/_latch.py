"""A signal that stays given."""

from __future__ import annotations

import threading
from contextlib import suppress


class Latch:
    """A `threading.Event` for signals given by threads of the application, once and for all.

    A signal handler that raises within `Event.set` can leave the lock in there taken. Here nothing is taken to set it.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._door = threading.Lock()
        self._door.acquire()

    def is_set(self) -> bool:
        """Whether the signal was given."""
        return self._is_set

    def set(self) -> None:
        """Give the signal."""
        self._is_set = True
        with suppress(RuntimeError):  # it is open already
            self._door.release()

    def wait(self, seconds: float) -> bool:
        """Wait for it, at most so long; whether it was given."""
        if not self._is_set and self._door.acquire(timeout=max(seconds, 0.0)):
            self.set()  # for the next one who waits
        return self._is_set
