"""The one lock, and the inbox that spares the application from waiting for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ._record import Record
from ._state import State


class Guard:
    """Lets one thread at a time at the state, and takes records from threads that must not wait for that.

    `offer` puts a record into the inbox, and admits the inbox only if nobody else holds the lock; whoever holds it does
    so on leaving. So neither a busy sender, nor a signal handler or a finaliser that ends a span while this very thread
    is in here, can block the application.

    Args:
        state: What is guarded.
        clock: Monotonic seconds.
        admitted: Called with the lock held after records came in; whether nothing was queued before.
    """

    def __init__(self, state: State, clock: Callable[[], float], admitted: Callable[[bool], None]) -> None:
        self._state = state
        self._clock = clock
        self._admitted = admitted
        self._inbox: deque[Record] = deque()
        self._lock = threading.Lock()
        self.work = threading.Condition(self._lock)
        """Something may be there to send."""
        self.progress = threading.Condition(self._lock)
        """Something became of a record."""

    def offer(self, record: Record) -> None:
        """Take `record` over. Never waits."""
        self._inbox.append(record)
        self._admit_unless_locked()

    @contextmanager
    def locked(self) -> Iterator[State]:
        """The state, with everything admitted that was offered before."""
        with self._lock:
            self.admit()
            yield self._state
        self._admit_unless_locked()

    def admit(self) -> None:
        """The inbox into the state; for whoever holds the lock and has waited for a condition."""
        if not self._inbox:
            return  # else those who wait for work would wake each other for ever
        now = self._clock()
        was_idle = self._state.lanes.is_idle
        while self._inbox:
            self._state.admit(self._inbox.popleft(), now)
        self._admitted(was_idle)

    def _admit_unless_locked(self) -> None:
        # Looked at again after each release: what came while we held the lock is ours to admit.
        while self._inbox and self._lock.acquire(blocking=False):
            try:
                self.admit()
            finally:
                self._lock.release()
