"""The sender threads: each takes a batch, delivers it, and says what became of it."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

from . import _process
from ._config import ProcessorConfig
from ._delivery import Delivery, Event, Failed, Returned, Settled, Terms
from ._guard import Guard
from ._journal import Journal, say
from ._latch import Latch
from ._outcome import DropReason, Ending, Outcome
from ._record import END, Record, SpanKey
from ._rescue import SENDING_SECONDS, deliver_spooled, rescued, spilled
from ._spool import Spool
from ._state import State
from ._transport import untraced
from ._turns import Turns

_START_AGAIN_SECONDS = 1.0
_INTERNAL = Ending(Outcome.DROPPED, DropReason.INTERNAL)


class _Batch(NamedTuple):
    """What a sender has in hand. The future ends with the batch; there are never more of them than senders."""

    future: Future[None]
    unsettled: dict[SpanKey, Record]
    is_probe: bool


class Senders:
    """Daemon threads, started with the first record.

    Those that may not send yet encode their batch and wait for their turn, so that the next request goes as soon as one
    was answered.

    Args:
        guard: Of the state that batches are taken from.
        delivery: Delivers a batch.
        config: Of the processor.
        journal: Is told what becomes of batches.
        spool: Keeps what cannot be delivered.
        close_deadline: When all have to be done, on the delivery's clock; infinite until somebody closes.
    """

    def __init__(
        self,
        guard: Guard,
        delivery: Delivery,
        config: ProcessorConfig,
        journal: Journal,
        spool: Spool | None,
        close_deadline: Callable[[], float],
    ) -> None:
        self._guard = guard
        self._delivery = delivery
        self._config = config
        self._journal = journal
        self._spool = spool
        self._close_deadline = close_deadline
        self._clock = delivery.clock
        self._turns = Turns(guard, delivery.clock, close_deadline)
        # Threads still to be started, and when; a sender first, without which nothing goes.
        self._missing: deque[tuple[str, Callable[[], None]]] = deque()
        self._missing += [(f"sgp-export-{number}", self._run) for number in range(config.senders)]
        self._missing.append(("sgp-admit", guard.answer_bell))
        if spool is not None:
            self._missing.append(("sgp-spool", partial(self._spill, spool)))
        self._start_at = -float("inf")
        self._threads: list[threading.Thread] = []
        self._encoding = nullcontext() if delivery.encoder.redacts else threading.Lock()  # a redactor may wait
        self._replaying = threading.Lock()
        self._idle = 0
        self._complained = False
        self.in_flight: dict[Future[None], Mapping[SpanKey, Record]] = {}
        """What is in somebody's hands; a record goes when it is settled."""
        self._pressure: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.closing = Latch()
        """Somebody closes: nobody pauses for longer than there is time."""
        self.closed = Latch()
        """There is no time left: nobody pauses at all."""

    def wake(self, state: State, sooner: bool) -> None:
        """Records came in, one due `sooner` than anybody waits for; the lock is held."""
        if self._missing and not state.closed and self._clock() >= self._start_at:
            self._start()
        if self._spool is not None and state.lanes.under_pressure and self._pressure.empty():
            self._pressure.put(None)
        if self._idle and (sooner or (state.gate.is_open and state.is_full(self._delivery.max_request_bytes))):
            self._guard.work.notify()

    def _start(self) -> None:
        # Daemons, so that a hanging backend cannot keep the process; started from an empty context, so that they do
        # not inherit the span that happened to be current.
        _process.watch_exit()
        while self._missing:
            name, target = self._missing[0]
            thread = threading.Thread(target=target, name=name, daemon=True)
            try:
                contextvars.Context().run(thread.start)
            except RuntimeError as error:
                # The interpreter exits, is one without threads, or a limit is reached: until then `send_here` will do.
                if self._start_at == -float("inf"):
                    say(logging.WARNING, "%s does not run: %s", name, error)
                self._start_at = self._clock() + _START_AGAIN_SECONDS
                return
            self._missing.popleft()
            self._threads.append(thread)

    def let_go(self) -> None:
        """The state is closed, and there is no time left: threads that still wait for something come to their end."""
        self.closed.set()
        self._pressure.put(None)
        self._guard.ring()
        with self._guard.locked():
            self._guard.turn.notify_all()

    def is_one_of_ours(self) -> bool:
        """Whether this is a sender: a redactor, a callable key or a log handler has called back."""
        return threading.current_thread() in self._threads

    def send_here(self, deadline: float) -> None:
        """Where no thread could be started, whoever waits does the work."""
        while not self._threads and self._clock() < deadline:
            with self._guard.locked() as state:
                batch = self._take(state)
            if batch is None:
                return
            self._send(batch, deadline)

    def _run(self) -> None:
        with untraced():
            while not self.closed.is_set():
                try:
                    while (batch := self._next_batch()) is not None:
                        self._send(batch)
                        self._replay_spooled()
                    return
                except BaseException:  # whatever it was, the next batch is none the worse for it
                    self._complain("A sender failed", [])
                    self.closing.wait(_START_AGAIN_SECONDS)

    def _next_batch(self) -> _Batch | None:
        """Waits for a batch; None when the pipeline is closed."""
        with self._guard.locked() as state:
            while (batch := self._take(state)) is None and not state.closed:
                due = state.due_at(self._delivery.max_request_bytes)
                self._idle += 1
                self._guard.work.wait(None if due is None else due - self._clock())
                self._idle -= 1
            return batch

    def _take(self, state: State) -> _Batch | None:
        taken = state.take(self._clock(), self._delivery.max_request_bytes)
        if taken is None:
            return None
        batch = self._in_hand(*taken)
        if not state.lanes.is_idle:
            self._guard.work.notify()  # someone has to watch what is left
        return batch

    def _in_hand(self, records: Sequence[Record], is_probe: bool) -> _Batch:
        batch = _Batch(Future(), {record.key: record for record in records}, is_probe)
        self.in_flight[batch.future] = batch.unsettled
        return batch

    def _send(self, batch: _Batch, deadline: float = float("inf")) -> None:
        events = self._delivery.deliver(list(batch.unsettled.values()), self._terms(batch, deadline))
        self._settle(batch, rescued(self._final(events), self._spool, self.held))

    def _settle(self, batch: _Batch, events: Iterable[Event]) -> None:
        unsettled = batch.unsettled
        try:
            for event in events:
                self._happened(event)
                if not isinstance(event, Failed):
                    for record in event.records:
                        del unsettled[record.key]
        except BaseException:
            self._complain("A sender failed", unsettled)
            self._happened(Settled(list(unsettled.values()), _INTERNAL))
        finally:
            with self._guard.locked() as state:
                del self.in_flight[batch.future]
                if batch.is_probe:
                    state.gate.leave()
                    self._guard.work.notify_all()
                self._guard.tell_watchers()
            batch.future.set_result(None)

    def _complain(self, what: str, lost: Sized) -> None:
        """Once: what is lost afterwards is in the counts."""
        if not self._complained:
            self._complained = True
            say(logging.ERROR, "%s; %d records are lost; this is said once", what, len(lost), traceback=True)

    def _final(self, events: Iterable[Event]) -> Iterator[Event]:
        """The events of a delivery; once closed, there is nowhere to return to."""
        for event in events:
            yield event.as_dropped() if isinstance(event, Returned) and self._guard.is_closed else event

    def _terms(self, batch: _Batch, deadline: float) -> Terms:
        give_up_at = min(self._clock() + self._config.export_timeout_millis / 1000, deadline)
        return Terms(
            deadline=lambda: min(give_up_at, self._close_deadline()),
            wait=lambda seconds: (self.closed if self.closing.is_set() else self.closing).wait(seconds),
            limit=lambda: min(deadline, self._close_deadline()),
            turn=partial(self._turns.take, is_probe=batch.is_probe),
            encoding=self._encoding,
            encoded=self._recharge,
            late=self._late,
            superseded=self._superseded,
        )

    def _happened(self, event: Event) -> None:
        now = self._clock()
        with self._guard.locked() as state:
            state.happened(event, now)
            self._guard.work.notify()
            self._guard.tell_watchers()
            lost = state.ledger.lost()
        self._journal.note(event, lost, now)

    def _recharge(self, records: Sequence[Record]) -> None:
        if self._spool is not None:
            self._spool.overtake([record for record in records if record.phase is END])
        with self._guard.locked() as state:
            state.lanes.recharge(records)

    def _late(self, records: Sequence[Record]) -> Sequence[Record]:
        with self._guard.locked() as state:
            return state.late(records, self._clock())

    def held(self, ends: Sequence[Record]) -> Mapping[SpanKey, float]:
        """Those of these ENDs that may not be sent by others yet, and for how many seconds."""
        with self._guard.locked() as state:
            return state.held(ends, self._clock(), self._delivery.request_seconds)

    def _superseded(self, records: Sequence[Record]) -> Sequence[Record]:
        with self._guard.locked() as state:
            return state.superseded(records, self._clock())

    def _spill(self, spool: Spool) -> None:
        """A thread of its own, since all senders may hang while the queue fills up."""
        while not self._guard.is_closed:
            with self._guard.locked() as state:
                records = [] if state.closed else state.relieve()
                batch = self._in_hand(records, is_probe=False) if records else None
            if batch is None:
                self._pressure.get()
            else:
                self._settle(batch, spilled(records, spool, self._delivery, self.held))

    def _replay_spooled(self) -> None:
        """After a success and with nothing else to do at the moment, send what an outage left behind.

        One sender at a time: these spans may be slow, or refused again and again, and those of now are not to wait.
        """
        if self._spool is None or not self._replaying.acquire(blocking=False):
            return
        try:
            self._replay_batch(self._spool)
        finally:
            self._replaying.release()

    def _replay_batch(self, spool: Spool) -> None:
        with self._guard.locked() as state:
            if not state.just_delivered or not state.has_time(self._clock(), self._delivery.max_request_bytes):
                return
        give_up_at = self._clock() + min(self._config.export_timeout_millis / 1000, SENDING_SECONDS)
        terms = Terms(
            deadline=lambda: min(give_up_at, self._close_deadline()),
            wait=self.closing.wait,
            turn=self._turns.take,
        )
        try:
            claimed = spool.claim(self._config.max_export_batch_size, self._delivery.max_request_bytes)
            for event in deliver_spooled(self._delivery, spool, claimed, terms):
                self._journal.note(event, {}, self._clock())
        except Exception:
            say(logging.ERROR, "Spooled spans could not be sent; they stay where they are", traceback=True)
