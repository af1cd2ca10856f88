"""What the processor does with records: `offer` them, `flush`, `close`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress

from . import _process
from ._config import ProcessorConfig
from ._delivery import Delivery
from ._guard import Guard, Offer, Reentered
from ._journal import Journal
from ._ledger import FlushResult, Stats
from ._outcome import SPOOLED
from ._record import END, Record, SpanKey
from ._rescue import keep_undelivered
from ._senders import Senders
from ._spool import Spool
from ._state import HANDED_OFF_SECONDS, State

_NEVER = float("inf")
_STALLED_SECONDS = 5.0
_EXIT_SECONDS = 30.0
_SPOOLING_SHARE = 0.2
_LAST_WORDS_SECONDS = 0.2

_INTERRUPTED = FlushResult(delivered=0, pending=1, lost={})
"""For a caller that has interrupted its own thread inside the pipeline, and for whom nothing can be done in there."""


class _Life:
    """What a pipeline is in one process."""

    def __init__(self, state: State, guard: Guard, journal: Journal) -> None:
        self.state = state
        self.guard = guard
        self.journal = journal
        self.senders: Senders
        self.close_deadline = _NEVER
        self.flushed = Stats()


class Pipeline:
    """Takes records from any thread and has senders deliver them, a batch each, at the same time.

    All waits are for the delivery's clock, and end with the caller's timeout.
    """

    def __init__(self, delivery: Delivery, config: ProcessorConfig, spool: Spool | None = None) -> None:
        self._delivery = delivery
        self._config = config
        self._spool = spool
        self._clock = delivery.clock
        self._closed = False
        # By process, and made with the first span: locks that were made before gevent patches them stop every greenlet.
        self._lives: dict[int, _Life] = {}
        _process.watch(self)

    def start_over(self) -> None:
        """Begin with nothing, in a new process: what the parent holds is the parent's to send."""
        self._lives = {}

    @property
    def _life(self) -> _Life:
        pid = os.getpid()  # uWSGI forks without Python's hooks
        return self._lives.get(pid) or self._lives.setdefault(pid, self._begun())

    def _begun(self) -> _Life:
        state, journal = State(self._config), Journal()
        state.closed = self._closed
        guard = Guard(state, self._clock, lambda sooner: senders.wake(state, sooner))
        life = _Life(state, guard, journal)
        senders = life.senders = Senders(
            guard, self._delivery, self._config, journal, self._spool, lambda: life.close_deadline
        )
        return life

    @property
    def _state(self) -> State:
        return self._life.state

    @property
    def _guard(self) -> Guard:
        return self._life.guard

    @property
    def _senders(self) -> Senders:
        return self._life.senders

    def offer(self, offer: Offer) -> None:
        """Take over a record that is made soon. See `Guard.offer`."""
        life = self._lives.get(os.getpid()) or self._life  # one call less, in the application's thread
        life.guard.offer(offer)

    def hand_off(self, key: SpanKey) -> float:
        """Another process will end the span: do not close it here. How many seconds its START may still take."""
        with suppress(Reentered), self._guard.up_to_date() as state:
            self._guard.work.notify()
            return state.hand_off(key, self._clock(), self._delivery.request_seconds)
        return HANDED_OFF_SECONDS + self._delivery.request_seconds

    def resume(self, key: SpanKey, start_seconds: float) -> None:
        """The span will end here. If its START may still come from elsewhere, send the END once more afterwards."""
        with suppress(Reentered), self._guard.up_to_date() as state:
            state.resume(key, start_seconds, self._clock())

    def flush(self, timeout_seconds: float, *, stalled_seconds: float = _NEVER) -> FlushResult:
        """Send what was offered before, now, and wait for it at most `timeout_seconds`.

        Gives up early when nothing was delivered for `stalled_seconds`, or when the server asked for more silence than
        there is time; does not wait at all in a sender, or in a signal handler that has interrupted such a call.
        """
        try:
            state, hurry = self._state, object()
            try:
                with self._guard.up_to_date():
                    deadline = self._clock() + timeout_seconds
                    epoch = state.ledger.next_epoch()
                    state.hurries.add(hurry)
                    self._guard.work.notify_all()
                self._wait_for(epoch, deadline, stalled_seconds)
            finally:  # in one step: nothing may come between, not even what a signal handler raises
                state.hurries.discard(hurry)
            with self._guard.up_to_date():
                return self._flush_result(epoch)
        except Reentered:
            return _INTERRUPTED

    def close(self, timeout_seconds: float) -> FlushResult:
        """Deliver what can be delivered in `timeout_seconds`, then stop; what is left is spooled or counted as dropped.

        Gives up early when nothing was delivered for five seconds. Safe before any record, twice, and from several
        threads at once. Spans that SGP shows as running are closed there as CANCELED.
        """
        try:
            return self._close(timeout_seconds)
        except Reentered:
            return _INTERRUPTED

    def _close(self, timeout_seconds: float) -> FlushResult:
        # Putting on disk what cannot be delivered takes time, too: for what waits, then for what is in flight.
        spooling_seconds = timeout_seconds * _SPOOLING_SHARE if self._spool else 0.0
        with self._guard.up_to_date() as state:
            first = not self._senders.closing.is_set()
            deadline = self._clock() + timeout_seconds - spooling_seconds / 4
            self._life.close_deadline = min(self._life.close_deadline, deadline)
            self._senders.closing.set()
            state.end(self._clock())
        give_up_at = self._life.close_deadline - spooling_seconds * 3 / 4
        cancels = self._config.cancel_open_spans and first
        epoch = self._deliver_rest(give_up_at, cancels=cancels)
        if cancels and self._state.open_spans:  # their STARTs were delivered only now
            epoch = self._deliver_rest(give_up_at, cancels=True)
        with self._guard.up_to_date() as state:
            left = state.lanes.clear()
            state.closed = self._closed = True
            self._guard.work.notify_all()
            in_flight = dict(self._senders.in_flight)
        held = self._senders.held(left)
        kept = self._keep([record for record in left if record.key not in held], self._life.close_deadline)
        self._life.close_deadline = min(self._life.close_deadline, self._clock())
        self._senders.let_go()
        with suppress(AssertionError):  # gevent runs signal handlers where nothing may wait
            wait(in_flight, _LAST_WORDS_SECONDS)
        # What waits for a START comes last: by now that may be settled.
        last = [record for record in _ends(in_flight) if record.fragment is not None]
        last += [record for record in left if record.key in held]
        kept |= self._keep(last, self._clock() + max(spooling_seconds / 4, _LAST_WORDS_SECONDS))
        with self._guard.up_to_date() as state:
            state.ledger.ended([record for record in left if record in kept], SPOOLED)
            state.ledger.ended([record for record in left if record not in kept], state.closed_ending)
            self._guard.tell_watchers()
            result, lost, unconfirmed = self._flush_result(epoch), state.ledger.lost(), state.lanes.unconfirmed
            in_doubt = sum(record not in kept for record in _ends(in_flight))
        if first:
            self._life.journal.closed(lost, unconfirmed, in_doubt)
        return result

    def _deliver_rest(self, give_up_at: float, *, cancels: bool) -> int:
        """What is here, and the ENDs of spans that nobody will end; returns the epoch up to which that is."""
        with self._guard.up_to_date() as state:
            if cancels:
                state.cancel_open_spans(self._clock(), time.time_ns())
            epoch = state.ledger.next_epoch()
            self._guard.work.notify_all()
        self._wait_for(epoch, give_up_at, _STALLED_SECONDS)
        return epoch

    def _keep(self, records: Iterable[Record], deadline: float) -> set[Record]:
        """Those that are on disk now."""
        if self._spool is None:
            return set()
        return keep_undelivered(records, self._spool, self._delivery, self._senders.held, deadline)

    def _wait_for(self, epoch: int, deadline: float, stalled_seconds: float) -> None:
        """Until nothing of the epoch is pending, or there is no point in waiting longer."""
        if self._senders.is_one_of_ours():
            return  # it would wait for itself
        self._senders.send_here(deadline)
        began = self._clock()
        with self._guard.watched() as watcher:
            while (left := self._left_to_wait(epoch, deadline, began, stalled_seconds)) > 0:
                watcher.wait(left)

    def _left_to_wait(self, epoch: int, deadline: float, began: float, stalled_seconds: float) -> float:
        """Seconds; none if there is nothing to wait for."""
        with self._guard.locked() as state:
            if state.is_done(epoch) or state.closed:
                return 0.0
            if not self._senders.in_flight and deadline < state.gate.opens_at < _NEVER:
                return 0.0
            return min(deadline, max(began, state.last_delivery) + stalled_seconds) - self._clock()

    def _flush_result(self, epoch: int) -> FlushResult:
        before, self._life.flushed = self._life.flushed, self._state.stats()
        return self._life.flushed.since(before, self._state.ledger.pending_until(epoch))

    def hurry(self) -> None:
        """Send what is queued without lingering, from now on."""
        with suppress(Reentered), self._guard.up_to_date() as state:
            state.end(self._clock())
            self._guard.work.notify_all()

    def drain(self) -> None:
        """Deliver what is left at interpreter exit, if nobody has closed the pipeline."""
        if not self._state.closed:
            self.flush(_EXIT_SECONDS, stalled_seconds=_STALLED_SECONDS)

    def stats(self) -> Stats:
        """The counts at this moment."""
        try:
            with self._guard.up_to_date() as state:
                return state.stats()
        except Reentered:
            return self._state.stats()

    @property
    def is_blocked(self) -> bool:
        """True while nothing can be delivered until somebody mends a key or a URL."""
        return self._state.gate.reason is not None

    def __repr__(self) -> str:
        return f"<Pipeline {self._state!r}, {len(self._senders.in_flight)} batches in flight>"


def _ends(in_flight: Mapping[Future[None], Mapping[SpanKey, Record]]) -> list[Record]:
    """The ENDs among what is still in somebody's hands."""
    return [record for batch in in_flight.values() for record in [*batch.values()] if record.phase is END]
