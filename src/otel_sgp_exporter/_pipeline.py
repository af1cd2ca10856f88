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
from typing import TypeAlias

from . import _process
from ._config import ProcessorConfig
from ._delivery import Delivery, Settled, Terms
from ._lanes import CLOSED, Lanes
from ._ledger import FlushResult, Ledger, Stats
from ._outcome import DropReason, Ending, Outcome
from ._record import Record
from ._transport import untraced

_logger = logging.getLogger(__package__)

_STALLED_SECONDS = 5.0
_EXIT_SECONDS = 30.0
_Batch: TypeAlias = tuple[Future[None], Sequence[Record]]
_INTERNAL = Ending(Outcome.DROPPED, DropReason.INTERNAL)


class Pipeline:
    """Takes records from any thread and has daemon senders deliver them, a batch each, at the same time.

    `offer` never waits: it puts the record into an inbox and moves the inbox into the lanes only if nobody else holds
    the lock; whoever holds it does so on leaving. So neither a busy sender, nor a signal handler or a finaliser that
    ends a span while this very thread is in here, can block the application.
    """

    def __init__(self, delivery: Delivery, config: ProcessorConfig) -> None:
        self._delivery = delivery
        self._config = config
        self._clock = delivery.clock
        self._linger_seconds = config.schedule_delay_millis / 1000
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
        self._closed = False
        self._last_progress = 0.0
        self._flushes_waiting = 0
        self._flushed = Stats()
        self._started = False
        self._senders: list[threading.Thread] = []
        self._idle_senders = 0
        self._in_flight: dict[Future[None], Sequence[Record]] = {}
        self._ledger = Ledger()
        self._lanes = Lanes(
            self._config.max_queue_size,
            self._config.max_queue_bytes,
            (self._config.start_delay_millis or 0) / 1000,
        )

    # In the application's threads.

    def offer(self, record: Record) -> None:
        """Take `record` over. Never waits, never raises."""
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
        was_idle = self._lanes.is_idle
        while self._inbox:
            record = self._inbox.popleft()
            self._ledger.offered(record)
            ended = [(record, CLOSED)] if self._closed else self._lanes.offer(record, now)
            for each, ending in ended:
                self._ledger.ended(each, ending)
        if not self._started and not self._closed:
            self._start_senders()
        if self._idle_senders and (was_idle or self._is_full()):
            self._work.notify()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            self._admit()
            yield
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
                self._send(*batch)

    def _next_batch(self) -> _Batch | None:
        """Waits for a batch; None when the pipeline is closed."""
        with self._locked():
            while (batch := self._take_batch()) is None and not self._closed:
                due = self._lanes.next_due(self._linger_seconds)
                self._idle_senders += 1
                self._work.wait(None if due is None else due - self._clock())
                self._idle_senders -= 1
                self._admit()
            return batch

    def _take_batch_locked(self) -> _Batch | None:
        with self._locked():
            return self._take_batch()

    def _take_batch(self) -> _Batch | None:
        now = self._clock()
        if not self._is_due(now):
            return None
        records = self._lanes.take(
            self._config.max_export_batch_size, self._delivery.max_request_bytes, now, hurry=self._in_hurry()
        )
        future: Future[None] = Future()
        self._in_flight[future] = records
        if not self._lanes.is_idle:
            self._work.notify()  # someone has to watch what is left
        return future, records

    def _is_due(self, now: float) -> bool:
        due = self._lanes.next_due(0 if self._in_hurry() else self._linger_seconds)
        return due is not None and (self._in_hurry() or due <= now or self._is_full())

    def _is_full(self) -> bool:
        return self._lanes.is_full(self._config.max_export_batch_size, self._delivery.max_request_bytes)

    def _in_hurry(self) -> bool:
        return bool(self._flushes_waiting) or self._closing.is_set()

    def _send(self, future: Future[None], records: Sequence[Record]) -> None:
        give_up_at = self._clock() + self._config.export_timeout_millis / 1000
        terms = Terms(
            deadline=lambda: min(give_up_at, self._close_deadline),
            wait=self._wait,
            encoded=self._recharge,
            superseded=self._superseded,
        )
        unsettled = {record.key: record for record in records}
        try:
            for settled in self._delivery.deliver(records, terms):
                self._settle(settled)
                for record in settled.records:
                    del unsettled[record.key]
        except BaseException:
            _logger.exception("A sender failed; %d records are lost", len(unsettled))
            self._settle(Settled(list(unsettled.values()), _INTERNAL))
        finally:
            with self._locked():
                del self._in_flight[future]
                self._progress.notify_all()
            future.set_result(None)

    def _wait(self, seconds: float) -> None:
        if self._closing.is_set():
            time.sleep(seconds)
        else:
            self._closing.wait(seconds)

    def _recharge(self, records: Sequence[Record]) -> None:
        with self._locked():
            for record in records:
                self._lanes.recharge(record, len(record.fragment or b""))

    def _superseded(self, records: Sequence[Record]) -> Sequence[Record]:
        with self._locked():
            return self._lanes.superseded(records)

    def _settle(self, settled: Settled) -> None:
        with self._locked():
            for record in settled.records:
                self._lanes.settle(record)
                self._ledger.ended(record, settled.ending)
            if settled.ending.outcome is Outcome.DELIVERED:
                self._last_progress = self._clock()
            self._work.notify()
            self._progress.notify_all()

    # In whoever flushes or closes.

    def flush(self, timeout_seconds: float, *, stalled_seconds: float = float("inf")) -> FlushResult:
        """Send what was offered before, now, and wait for it at most `timeout_seconds`.

        Gives up early when nothing was delivered for `stalled_seconds`.
        """
        deadline = self._clock() + timeout_seconds
        with self._locked():
            epoch = self._ledger.next_epoch()
            self._flushes_waiting += 1
            self._work.notify_all()
        try:
            self._wait_for(epoch, deadline, stalled_seconds)
        finally:
            with self._locked():
                self._flushes_waiting -= 1
                result = self._flush_result(epoch)
        return result

    def close(self, timeout_seconds: float) -> FlushResult:
        """Deliver what can be delivered in `timeout_seconds`, then stop; what is left is counted as dropped.

        Gives up early when nothing was delivered for five seconds. Safe before any record, twice, and from several
        threads at once.
        """
        with self._locked():
            self._close_deadline = min(self._close_deadline, self._clock() + timeout_seconds)
            self._closing.set()
            epoch = self._ledger.next_epoch()
            self._work.notify_all()
        self._wait_for(epoch, self._close_deadline, _STALLED_SECONDS)
        with self._locked():
            self._close_deadline = min(self._close_deadline, self._clock())
            self._closed = True
            for record in self._lanes.clear():
                self._ledger.ended(record, CLOSED)
            self._work.notify_all()
            self._progress.notify_all()
            return self._flush_result(epoch)

    def _wait_for(self, epoch: int, deadline: float, stalled_seconds: float) -> None:
        if not self._senders:
            while (batch := self._take_batch_locked()) is not None:
                self._send(*batch)
        with self._locked():
            began = self._clock()
            while self._ledger.pending_until(epoch) and not self._closed:
                give_up_at = max(began, self._last_progress) + stalled_seconds
                left = min(deadline, give_up_at) - self._clock()
                if left <= 0:
                    return
                self._progress.wait(left)

    def hurry(self) -> None:
        """Send what is queued without lingering, from now on."""
        with self._locked():
            self._flushes_waiting += 1
            self._work.notify_all()

    def drain(self) -> None:
        """Deliver what is left at interpreter exit, if nobody has closed the pipeline."""
        if not self._closed:
            self.flush(_EXIT_SECONDS, stalled_seconds=_STALLED_SECONDS)

    def _flush_result(self, epoch: int) -> FlushResult:
        before, self._flushed = self._flushed, self._ledger.stats()
        return FlushResult(
            delivered=self._flushed.delivered - before.delivered,
            pending=self._ledger.pending_until(epoch),
            lost={
                reason: count - before.lost.get(reason, 0)
                for reason, count in self._flushed.lost.items()
                if count > before.lost.get(reason, 0)
            },
        )

    def stats(self) -> Stats:
        """The counts at this moment."""
        with self._locked():
            return self._ledger.stats()

    def __repr__(self) -> str:
        return f"<Pipeline {self._lanes!r}, {len(self._in_flight)} batches in flight>"
