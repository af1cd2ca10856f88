"""Which records may go now: one lane per span, so that an END waits for its own START and for nothing else.

A lane is not an object. It is the presence of a span's key in the queues below, so a span that never ends costs
nothing once its START is settled. No thread, lock or clock in here: the pipeline calls under its lock and says what
time it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import islice, repeat, takewhile
from operator import attrgetter, contains

from ._outcome import SUPERSEDED, DropReason, Ending, Outcome
from ._queue import Queue, Tally
from ._record import END, REASSERT, START, Record, SpanKey

QUEUE_FULL = Ending(Outcome.DROPPED, DropReason.QUEUE_FULL)

_PRESSURE = 0.75

REASSERT_SECONDS = 5.0
"""How long the server is given to apply a START of which nobody knows whether it arrived."""


class Lanes:
    """The records between `offer` and their end, bounded in number and bytes.

    Args:
        max_records: Records held at most, those in flight included.
        max_bytes: Bytes held at most, those in flight included.
        start_delay_seconds: How long a START waits for its END to make it pointless.
    """

    def __init__(self, max_records: int, max_bytes: int, start_delay_seconds: float = 0.0) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._start_delay_seconds = start_delay_seconds
        self._tally = Tally()
        self._starts = Queue(self._tally)
        self._ends = Queue(self._tally)
        self._explaining_ends = Queue(self._tally)  # of local roots and failed spans: shed after all others
        self._reasserts = Queue(self._tally)  # delivered ENDs to be sent once more; offered "at" the time they are due
        self._parked = Queue(self._tally)  # ENDs behind their own START
        self._in_flight = Queue(self._tally)
        self._unclear: dict[SpanKey, float] = {}  # STARTs that may still be applied, until when
        self.unconfirmed = 0
        """ENDs that were delivered before such a START, and not once more after it."""
        self._queued = (self._ends, self._explaining_ends, self._starts, self._reasserts)
        self._all = (*self._queued, self._parked, self._in_flight)

    def __len__(self) -> int:
        return self._tally.records

    @property
    def in_flight(self) -> int:
        """Records taken and not settled."""
        return len(self._in_flight)

    @property
    def charged_bytes(self) -> int:
        """Estimated bytes of what is queued and exact bytes of what is encoded, together."""
        return self._tally.charged_bytes

    def offer(self, record: Record, now: float) -> list[tuple[Record, Ending]]:
        """Admit `record`; returns the records that ended by it, possibly itself.

        Over the bounds, records are given up in this order: a new START, waiting STARTs, ENDs, ENDs parked behind a
        START in flight, ENDs of local roots and failed spans; the oldest first. What is in flight is not touched, nor
        are ENDs that are to be repeated: they were counted as delivered, so that losing one would go unnoticed.
        """
        record.offered_at = now
        if record.phase is START:
            return self._offer_start(record)
        if record.charged_bytes > self._max_bytes:
            record.abridge(self._max_bytes // 2)
            if record.charged_bytes > self._max_bytes:
                return [(record, QUEUE_FULL)]
        ended = self._offer_end(record)
        if self._exceeds(0, 0):
            ended += self._shed()
        return ended

    def _offer_start(self, record: Record) -> list[tuple[Record, Ending]]:
        if any(map(contains, self._all, repeat(record.key))):
            return [(record, SUPERSEDED)]
        if self._exceeds(1, record.charged_bytes):
            return [(record, QUEUE_FULL)]
        self._starts.push(record)
        return []

    def _offer_end(self, record: Record) -> list[tuple[Record, Ending]]:
        key = record.key
        ended = []
        for queue in (self._ends, self._explaining_ends, self._parked):
            if key in queue:
                ended.append((queue.take(key), SUPERSEDED))
        if key in self._reasserts:
            self._unclear[key] = self._reasserts.take(key).offered_at
            self.unconfirmed -= 1
        start = self._starts.get(key)
        # A START with a fragment has been tried before: sending it now would be a retry behind its END.
        if start is not None and (start.fragment is not None or self._is_waiting(start, record.offered_at)):
            ended.append((self._starts.take(key), SUPERSEDED))
            record.adopt(start)
        behind = key in self._starts or key in self._in_flight
        (self._parked if behind else self._queue_of(record)).push(record)
        return ended

    def _exceeds(self, more_records: int, more_bytes: int) -> bool:
        tally = self._tally
        return tally.records + more_records > self._max_records or tally.charged_bytes + more_bytes > self._max_bytes

    def _shed(self) -> list[tuple[Record, Ending]]:
        ended: list[tuple[Record, Ending]] = []
        while self._exceeds(0, 0):
            queue = next(filter(None, (self._starts, self._ends, self._parked, self._explaining_ends)), None)
            if queue is None:
                break
            record = queue.take(queue.oldest().key)
            behind = self._unpark(record.key) if record.phase is START else False
            ended.append((record, SUPERSEDED if behind else QUEUE_FULL))
        return ended

    def take(self, max_records: int, max_bytes: int, now: float, *, hurry: bool = False) -> list[Record]:
        """The next batch, oldest records first, never two of one span; all are in flight from here on.

        `hurry` takes STARTs before their delay is over; an END is never repeated before it is due. A record larger than
        `max_bytes` is a batch of its own.
        """
        batch: list[Record] = []
        size = 0
        ready = [self._ready(queue, now, hurry) for queue in self._queued if queue]
        for record in islice(merge(*ready, key=attrgetter("offered_at")), max_records):
            size += record.charged_bytes
            if batch and size > max_bytes:
                break
            batch.append(record)
        for record in batch:
            self._queue_of(record).hand_over(record.key, self._in_flight)
        return batch

    @property
    def under_pressure(self) -> bool:
        """True when it is time to put ENDs elsewhere, before they have to be given up."""
        tally = self._tally
        return tally.records > self._max_records * _PRESSURE or tally.charged_bytes > self._max_bytes * _PRESSURE

    def relieve(self, max_records: int) -> tuple[list[Record], list[tuple[Record, Ending]]]:
        """Under pressure: the oldest ENDs, in flight from here on, and STARTs that were given up to get at them."""
        if not self.under_pressure:
            return [], []
        behind = list(islice((key for key in self._parked if key in self._starts), max_records))
        ended = [(self._starts.take(key), SUPERSEDED) for key in behind if self._unpark(key)]
        records = [record for queue in self._queued[:2] for record in islice(queue.values(), max_records)][:max_records]
        for record in records:
            self._queue_of(record).hand_over(record.key, self._in_flight)
        return records, ended

    def _ready(self, queue: Queue, now: float, hurry: bool) -> Iterable[Record]:
        """The records of a queue that may go, oldest first."""
        if queue is self._reasserts:
            return takewhile(lambda record: record.offered_at <= now, queue.values())
        if queue is self._starts and self._start_delay_seconds and not hurry:
            return takewhile(lambda record: not self._is_waiting(record, now), queue.values())
        return queue.values()

    def is_full(self, max_records: int, max_bytes: int) -> bool:
        """True when a whole batch is waiting to be taken."""
        queues = self._queued[: 2 if self._start_delay_seconds else 3]
        return sum(map(len, queues)) >= max_records or sum([queue.charged_bytes for queue in queues]) >= max_bytes

    def next_due(self, linger_seconds: float, *, hurry: bool = False) -> float | None:
        """When the oldest record has waited long enough, which in a `hurry` it always has; None when there is none."""
        due = [queue.oldest().offered_at + linger_seconds for queue in (self._ends, self._explaining_ends) if queue]
        if self._starts:
            due.append(self._starts.oldest().offered_at + max(linger_seconds, self._start_delay_seconds))
        due = [-float("inf")] if hurry and due else due
        if self._reasserts:
            due.append(self._reasserts.oldest().offered_at)
        return min(due, default=None)

    @property
    def is_idle(self) -> bool:
        """True when nothing is queued."""
        return not (self._ends or self._explaining_ends or self._starts or self._reasserts)

    def recharge(self, records: Iterable[Record]) -> None:
        """Correct what records in flight are charged with, now that they are encoded."""
        more_bytes = 0
        for record in records:
            encoded_bytes = len(record.fragment or b"")
            more_bytes += encoded_bytes - record.charged_bytes
            record.charged_bytes = encoded_bytes
        self._in_flight.charge(more_bytes)

    def settle(self, record: Record, *, delivered: bool = False) -> None:
        """`record` is no longer in flight: its lane is open for its END.

        A delivered END whose START may yet be applied is kept, to be sent once more when that is over.
        """
        self._in_flight.take(record.key)
        unparked = self._unpark(record.key)
        if self._unclear and record.phase is END and delivered and not unparked:
            self._keep_to_reassert(record)

    def _keep_to_reassert(self, record: Record) -> None:
        until = self._unclear.pop(record.key, None)
        if until is not None and record.offered_at < until and record.fragment is not None:
            again = Record.of_fragment(REASSERT, record.key, record.fragment)
            again.offered_at = until
            self._reasserts.push(again)
            self.unconfirmed += 1

    def unclear(self, records: Iterable[Record], now: float) -> None:
        """An attempt with these records had gone out and was not answered: its STARTs may be applied late."""
        for record in records:
            if record.phase is START:
                self.expect_start(record.key, now + REASSERT_SECONDS, now)

    def expect_start(self, key: SpanKey, until: float, now: float) -> None:
        """A START of that span may be applied until then: an END before it is sent once more."""
        while self._unclear and next(iter(self._unclear.values())) < now:
            del self._unclear[next(iter(self._unclear))]
        self._unclear.pop(key, None)
        self._unclear[key] = until

    def expects_start(self, key: SpanKey, now: float) -> float:
        """For how many seconds such a START may still be applied."""
        return max(self._unclear.get(key, now) - now, 0.0)

    def outruns(self, end: Record, now: float, request_seconds: float) -> float:
        """For how many seconds another record of that span may still be applied: it is in flight, or was unclear."""
        ahead = self._in_flight.get(end.key)
        if ahead is not None and ahead is not end:
            return request_seconds + REASSERT_SECONDS
        return self.expects_start(end.key, now)

    def has_start(self, key: SpanKey) -> bool:
        """True when the START of that span is here, queued or in flight."""
        record = self._starts.get(key) or self._in_flight.get(key)
        return record is not None and record.phase is START

    def hasten_start(self, key: SpanKey) -> None:
        """The span will stay open: its START waits neither for the END nor for company."""
        if key in self._starts:
            self._starts[key].offered_at = -float("inf")
            self._starts.move_to_end(key, last=False)

    def give_back(self, records: Sequence[Record]) -> list[tuple[Record, Ending]]:
        """These were in flight and are to be sent later, before all others. Returns the records that ended by it."""
        ended = []
        for record in reversed(records):
            self._in_flight.take(record.key)
            if self._unpark(record.key):
                ended.append((record, SUPERSEDED))
            else:
                self._queue_of(record).push(record, first=True)
        return ended

    def has_end(self, key: SpanKey) -> bool:
        """True when the END of that span is here."""
        return key in self._ends or key in self._explaining_ends or key in self._parked

    def superseded(self, records: Iterable[Record]) -> list[Record]:
        """Those STARTs in flight whose END has come."""
        return [record for record in records if record.phase is START and record.key in self._parked]

    def clear(self) -> list[Record]:
        """Give up everything that is not in flight."""
        self._reasserts.empty()
        return [record for queue in self._all if queue is not self._in_flight for record in queue.empty()]

    def _unpark(self, key: SpanKey) -> bool:
        record = self._parked.get(key)
        if record is None:
            return False
        self._parked.hand_over(key, self._queue_of(record), first=True)
        return True

    def _is_waiting(self, start: Record, now: float) -> bool:
        return now < start.offered_at + self._start_delay_seconds

    def _queue_of(self, record: Record) -> Queue:
        if record.phase is not END:
            return self._starts if record.phase is START else self._reasserts
        return self._explaining_ends if record.explains_trace else self._ends

    def __repr__(self) -> str:
        queued = sum(map(len, self._queued))
        return (
            f"<Lanes {queued} queued, {len(self._parked)} parked, {len(self._in_flight)} in flight, "
            f"{self.charged_bytes} bytes>"
        )
