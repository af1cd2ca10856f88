"""The one lock, and the inbox that spares the application from waiting for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

from ._journal import say
from ._latch import Call
from ._record import Record
from ._state import State

Offer: TypeAlias = tuple[Any, ...]
"""A function and its arguments: it makes a record, or none, in any thread, and does not raise.

Flat, since the garbage collector goes through whatever is kept of a span for a while.
"""

_FEW_RECORDS, _MANY_RECORDS = 32, 1024
_INBOX_BYTES = 4 * 1024 * 1024
_ROUND_SECONDS = 0.002
_PATIENCE_SECONDS = 0.05


class Reentered(Exception):  # noqa: N818  # not an error: an answer
    """This thread is inside already: a signal handler or a finaliser has interrupted it there."""


class Guard:
    """Lets one thread at a time at the state, and takes records from threads that must not wait for that.

    `offer` puts into the inbox what makes a record and rings a bell; a thread of ours makes and admits what is there.
    The application's threads so spend next to nothing on a span and never hold the lock for it: no sender can block
    them, and a signal handler that raises, or a finaliser that ends a span, finds nothing half done.

    Args:
        state: What is guarded.
        clock: Monotonic seconds.
        admitted: Called with the lock held after records came in; whether one is due before all that was there.
    """

    def __init__(self, state: State, clock: Callable[[], float], admitted: Callable[[bool], None]) -> None:
        self._state = state
        self._clock = clock
        self._admitted = admitted
        self._inbox: deque[Offer] = deque()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._callers: deque[Call] = deque()  # who wait for the porter; each gets an answer
        self._called = Call()
        self._watchers: set[Call] = set()
        self._inside: set[int] = set()
        self._lock = threading.Lock()
        self._admitting = threading.Lock()  # taken before the other one: records are admitted in their order
        self._room = _FEW_RECORDS  # in the inbox: about `_INBOX_BYTES`, if records stay as large as the last ones
        self.has_porter = False
        """Whether a thread answers the bell."""
        self.work = threading.Condition(self._lock)
        """Something may be there to send."""
        self.turn = threading.Condition(self._lock)
        """One more request may be in flight."""

    def offer(self, offer: Offer) -> None:
        """Take over a record that is made soon.

        Waits for nothing but, in a flood, for the thread that has to count them: 50 ms, then it counts them itself.
        """
        self._inbox.append(offer)
        if not self.has_porter:
            self._admit_here()
            return
        if self._bell.empty():
            self._bell.put(None)
        if len(self._inbox) >= self._room:
            self._let_porter_catch_up()

    def _let_porter_catch_up(self) -> None:
        # Admitting them here would take as long, and a signal handler that raises could strike half-way.
        give_up_at = self._clock() + _PATIENCE_SECONDS
        while len(self._inbox) >= self._room:
            if self._clock() >= give_up_at:
                self._admit_here()
                return
            time.sleep(_ROUND_SECONDS / 4)

    def answer_bell(self) -> None:
        """For the porter: admit what is offered, until the state is closed."""
        self.has_porter = True
        while not self.is_closed:
            try:
                self._admit_in_rounds()
            except BaseException as error:  # nobody else would answer, nor ring for what is there already
                say(logging.ERROR, "The thread that admits spans goes on after %s", type(error).__name__)
                self.ring()
                time.sleep(_ROUND_SECONDS)
        self.has_porter = False

    def _admit_in_rounds(self) -> None:
        while not self.is_closed:
            if not self._callers:
                self._bell.get()  # before looking, so that whatever comes from now on rings again
            callers = [self._callers.popleft() for _ in range(len(self._callers))]
            with self._entered():
                self._admit()
            for caller in callers:
                caller.give()
            # Waking this thread costs the application more than all else about a span: not before somebody waits.
            self._called.wait(_ROUND_SECONDS)

    @property
    def is_closed(self) -> bool:
        """Whether the state takes nothing any more; it stays so."""
        return self._state.closed

    def ring(self) -> None:
        """Have the porter look."""
        if self._bell.empty():
            self._bell.put(None)

    @contextmanager
    def locked(self) -> Iterator[State]:
        """The state. Raises Reentered."""
        with self._entered(), self._lock:
            yield self._state

    @contextmanager
    def up_to_date(self) -> Iterator[State]:
        """The state, with everything admitted that was offered before. Raises Reentered."""
        with self._entered():
            if self._inbox and not self._porter_has_admitted():
                self._admit()
            with self._lock:
                yield self._state

    def _porter_has_admitted(self) -> bool:
        """Everything that was offered before; by the porter, since a signal handler may raise in this thread."""
        if not self.has_porter:
            return False
        answer = Call()
        self._callers.append(answer)
        self._called.give()
        self.ring()
        return answer.wait(_PATIENCE_SECONDS)

    @contextmanager
    def watched(self) -> Iterator[Call]:
        """A call that is given whenever something became of a record.

        For threads of the application: a `Condition` is left in disorder when a signal handler raises while it waits.
        """
        watcher = Call()
        try:
            self._watchers.add(watcher)
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def tell_watchers(self) -> None:
        """Something became of a record."""
        for watcher in self._watchers.copy():
            watcher.give()

    @contextmanager
    def _entered(self) -> Iterator[None]:
        thread = threading.get_ident()
        if thread in self._inside:
            raise Reentered
        try:
            self._inside.add(thread)
            yield
        finally:
            self._inside.discard(thread)

    def _admit(self) -> None:
        """The inbox into the state. Records are made outside the lock, and stay there until they are admitted."""
        with self._admitting:
            offered = [*self._inbox.copy()]  # and not what comes meanwhile: a flood would have no end
            size = 0
            for first in range(0, len(offered), _FEW_RECORDS):
                # Senders that wait for the lock get it while the next few are made.
                records = [make(*what) for make, *what in offered[first : first + _FEW_RECORDS]]
                size += sum(record.charged_bytes for record in records if record is not None)
                self._admit_few(records)
            if offered:
                as_large = _INBOX_BYTES * len(offered) // (size + 1)
                self._room = max(min(as_large, 2 * self._room, _MANY_RECORDS), _FEW_RECORDS)

    def _admit_few(self, records: list[Record | None]) -> None:
        with self._lock:
            now = self._clock()
            before = self._state.next_due
            for record in records:
                self._inbox.popleft()
                if record is not None:
                    self._state.admit(record, now)
            due = self._state.next_due
            self._admitted(due is not None and (before is None or due < before))

    def _admit_here(self) -> None:
        with suppress(Reentered), self._entered():
            self._admit()
