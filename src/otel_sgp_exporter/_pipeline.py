"""The threads and the one lock: `offer` from the application, senders that pull batches, `flush`, `close`."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import NamedTuple

from . import _process
from ._config import ProcessorConfig
from ._delivery import Delivery, Event, Failed, Settled, Terms
from ._journal import Journal
from ._ledger import FlushResult, Stats
from ._outcome import DropReason, Ending, Outcome
from ._record import Record
from ._state import State
from ._transport import untraced

_logger = logging.getLogger(__package__)

_STALLED_SECONDS = 5.0
_EXIT_SECONDS = 30.0
_INTERNAL = Ending(Outcome.DROPPED, DropReason.INTERNAL)


class _Batch(NamedTuple):
    """Records in flight. The future ends with the batch; there are never more of them than senders."""

    future: Future[None]
    records: Sequence[Record]
    is_probe: bool


class Pipeline:
    """Takes records from any thread and has daemon senders deliver them, a batch each, at the same time.

    `offer` never waits: it puts the record into an inbox and admits the inbox only if nobody else holds the lock;
    whoever holds it does so on leaving. So neither a busy sender, nor a signal handler or a finaliser that ends a span
    while this very thread is in here, can block the application.
    """

    def __init__(self, delivery: Delivery, config: ProcessorConfig) -> None:
        self._delivery = delivery
        self._config = config
        self._clock = delivery.clock
        self.start_over()
        _process.watch(self)

    def start_over(self) -> None:
        """Begin with nothing, in a new process: what the parent holds is the parent's to send."""
        self._pid = os.getpid()
        self._inbox: deque[Record] = deque()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._progress = threading.Condition(self._lock)
        self._closing = threading.Event()
        self._close_deadline = float("inf")
        self._hurries = 0
        self._flushed = Stats()
        self._started = False
        self._senders: list[threading.Thread] = []
        self._idle_senders = 0
        self._in_flight: dict[Future[None], Sequence[Record]] = {}
        self._state = State(self._config)
        self._journal = Journal()

    # In the application's threads.

    def offer(self, record: Record) -> None:
        """Take `record` over. Never waits."""
        if self._pid != os.getpid():  # uWSGI forks without Python's hooks
            self.start_over()
        self._inbox.append(record)
        self._admit_unless_locked()

    def _admit_unless_locked(self) -> None:
        # Looked at again after each release: what came while we held the lock is ours to admit.
        while self._inbox and self._lock.acquire(blocking=False):
            try:
                self._admit()
            finally:
                self._lock.release()

    def _admit(self) -> None:
        """The inbox into the lanes; the lock is held."""
        if not self._inbox:
            return  # else senders would wake each other for ever
        now = self._clock()
        was_idle = self._state.lanes.is_idle
        while self._inbox:
            self._state.admit(self._inbox.popleft(), now)
        if not self._started and not self._state.closed:
            self._start_senders()
        if self._idle_senders and (was_idle or self._state.is_full(self._delivery.max_request_bytes)):
            self._work.notify()

    @contextmanager
    def _locked(self) -> Iterator[State]:
        with self._lock:
            self._admit()
            yield self._state
        self._admit_unless_locked()

    def _start_senders(self) -> None:
        # Daemons, so that a hanging backend cannot keep the process; started from an empty context, so that they do
        # not inherit the span that happened to be current.
        self._started = True
        _process.watch_exit()
        for number in range(self._config.max_concurrent_exports):
            sender = threading.Thread(target=self._send_batches, name=f"sgp-export-{number}", daemon=True)
            try:
                contextvars.Context().run(sender.start)
            except RuntimeError as error:  # the interpreter exits, or is one without threads: `flush` will send
                _logger.warning("%d of %d senders run: %s", number, self._config.max_concurrent_exports, error)
                return
            self._senders.append(sender)

    # In the senders.

    def _send_batches(self) -> None:
        with untraced():
            while (batch := self._next_batch()) is not None:
                self._send(batch)

    def _next_batch(self) -> _Batch | None:
        """Waits for a batch; None when the pipeline is closed."""
        with self._locked() as state:
            while (batch := self._take_batch()) is None and not state.closed:
                due = state.due_at(self._delivery.max_request_bytes, hurry=self._in_hurry())
                self._idle_senders += 1
                self._work.wait(None if due is None else due - self._clock())
                self._idle_senders -= 1
                self._admit()
            return batch

    def _take_batch(self) -> _Batch | None:
        taken = self._state.take(self._clock(), self._delivery.max_request_bytes, hurry=self._in_hurry())
        if taken is None:
            return None
        batch = _Batch(Future(), *taken)
        self._in_flight[batch.future] = batch.records
        if not self._state.lanes.is_idle:
            self._work.notify()  # someone has to watch what is left
        return batch

    def _in_hurry(self) -> bool:
        return bool(self._hurries) or self._closing.is_set()

    def _send(self, batch: _Batch) -> None:
        give_up_at = self._clock() + self._config.export_timeout_millis / 1000
        terms = Terms(
            deadline=lambda: min(give_up_at, self._close_deadline),
            wait=lambda seconds: time.sleep(seconds) if self._closing.is_set() else self._closing.wait(seconds),
            may_go_on=lambda: batch.is_probe or self._state.gate.is_open,
            encoded=self._recharge,
            superseded=self._superseded,
        )
        unsettled = {record.key: record for record in batch.records}
        try:
            for event in self._delivery.deliver(batch.records, terms):
                self._happened(event, batch)
                if not isinstance(event, Failed):
                    for record in event.records:
                        del unsettled[record.key]
        except BaseException:
            _logger.exception("A sender failed; %d records are lost", len(unsettled))
            self._happened(Settled(list(unsettled.values()), _INTERNAL), batch)
        finally:
            with self._locked() as state:
                del self._in_flight[batch.future]
                if batch.is_probe:
                    state.gate.leave()
                    self._work.notify_all()
                self._progress.notify_all()
            batch.future.set_result(None)

    def _recharge(self, records: Sequence[Record]) -> None:
        with self._locked() as state:
            for record in records:
                state.lanes.recharge(record, len(record.fragment or b""))

    def _superseded(self, records: Sequence[Record]) -> Sequence[Record]:
        with self._locked() as state:
            return state.lanes.superseded(records)

    def _happened(self, event: Event, batch: _Batch) -> None:
        now = self._clock()
        with self._locked() as state:
            was_open = state.gate.is_open
            state.happened(event, now, probe=batch.is_probe)
            if state.gate.is_open and not was_open:
                self._work.notify_all()
            else:
                self._work.notify()
            self._progress.notify_all()
            lost = state.ledger.lost()
        self._journal.note(event, lost, now)

    # In whoever flushes or closes.

    def flush(self, timeout_seconds: float, *, stalled_seconds: float = float("inf")) -> FlushResult:
        """Send what was offered before, now, and wait for it at most `timeout_seconds`.

        Gives up early when nothing was delivered for `stalled_seconds`, or when the server asked for more silence than
        there is time.
        """
        deadline = self._clock() + timeout_seconds
        with self._locked() as state:
            epoch = state.ledger.next_epoch()
            self._hurries += 1
            self._work.notify_all()
        self._wait_for(epoch, deadline, stalled_seconds)
        with self._locked():
            self._hurries -= 1
            return self._flush_result(epoch)

    def close(self, timeout_seconds: float) -> FlushResult:
        """Deliver what can be delivered in `timeout_seconds`, then stop; what is left is counted as dropped.

        Gives up early when nothing was delivered for five seconds. Safe before any record, twice, and from several
        threads at once. Spans that SGP shows as running are closed there as CANCELED.
        """
        with self._locked() as state:
            if not self._closing.is_set():
                state.cancel_open_spans(self._clock(), time.time_ns())
            self._close_deadline = min(self._close_deadline, self._clock() + timeout_seconds)
            self._closing.set()
            epoch = state.ledger.next_epoch()
            self._work.notify_all()
        self._wait_for(epoch, self._close_deadline, _STALLED_SECONDS)
        with self._locked() as state:
            self._close_deadline = min(self._close_deadline, self._clock())
            for record in state.lanes.clear():
                state.ledger.ended(record, state.closed_ending)
            state.closed = True
            self._work.notify_all()
            self._progress.notify_all()
            result, lost = self._flush_result(epoch), state.ledger.lost()
        self._journal.closed(lost)
        return result

    def _wait_for(self, epoch: int, deadline: float, stalled_seconds: float) -> None:
        if not self._senders:
            self._send_here()
        with self._locked() as state:
            began = self._clock()
            while state.ledger.pending_until(epoch) and not state.closed:
                give_up_at = min(deadline, max(began, state.last_delivery) + stalled_seconds)
                if not self._in_flight and deadline < state.gate.opens_at < float("inf"):
                    return
                left = give_up_at - self._clock()
                if left <= 0:
                    return
                self._progress.wait(left)

    def _send_here(self) -> None:
        """Where no thread can be started, whoever waits does the work."""
        while True:
            with self._locked():
                batch = self._take_batch()
            if batch is None:
                return
            self._send(batch)

    def hurry(self) -> None:
        """Send what is queued without lingering, from now on."""
        with self._locked():
            self._hurries += 1
            self._work.notify_all()

    def drain(self) -> None:
        """Deliver what is left at interpreter exit, if nobody has closed the pipeline."""
        if not self._state.closed:
            self.flush(_EXIT_SECONDS, stalled_seconds=_STALLED_SECONDS)

    def _flush_result(self, epoch: int) -> FlushResult:
        before, self._flushed = self._flushed, self._state.ledger.stats()
        return self._flushed.since(before, self._state.ledger.pending_until(epoch))

    def stats(self) -> Stats:
        """The counts at this moment."""
        with self._locked() as state:
            return state.ledger.stats()

    def __repr__(self) -> str:
        return f"<Pipeline {self._state!r}, {len(self._in_flight)} batches in flight>"
