"""Between delivery and the spool: what would be dropped goes to disk, and what is on disk goes out again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

from ._delivery import Delivery, Event, Settled, Terms
from ._lanes import QUEUE_FULL
from ._outcome import SPOOLED, DropReason, Outcome
from ._record import END, Record, SpanKey
from ._spool import LEASE_SECONDS, Spool
from ._wire import EncodeError

SENDING_SECONDS = LEASE_SECONDS * 0.75
"""How long spooled ENDs may be under way: the server has to be done with them before anybody else may send them."""

Held: TypeAlias = Callable[[Sequence[Record]], Mapping[SpanKey, float]]
"""Of these ENDs, those on which a START may still land, and for how many seconds: nobody may send them before."""

_CHUNK_RECORDS = 200
_NOT_THE_RECORD_S_FAULT = (DropReason.BUDGET_SPENT, DropReason.AUTH, DropReason.CONFIG, DropReason.CLOSED)


def rescued(events: Iterable[Event], spool: Spool | None, held: Held) -> Iterator[Event]:
    """The events of a delivery, with ENDs spooled instead of dropped where that could be done."""
    for event in events:
        if spool is None or not isinstance(event, Settled):
            yield event
        elif event.ending.outcome is Outcome.DROPPED and event.ending.reason in _NOT_THE_RECORD_S_FAULT:
            kept = spool.keep(event.records, held(event.records))
            yield Settled(kept, SPOOLED)
            yield event._replace(records=[record for record in event.records if record not in kept])
        else:
            if event.ending.outcome is Outcome.DELIVERED:
                spool.forget([record for record in event.records if record.phase is END])
            yield event


def spilled(records: Sequence[Record], spool: Spool, delivery: Delivery, held: Held) -> Iterator[Settled]:
    """Put ENDs on disk for which there is no room in memory."""
    sealed = [record for record in records if _sealed(record, delivery)]
    kept = {*spool.keep(sealed, held(sealed))}
    yield Settled([record for record in records if record in kept], SPOOLED)
    yield Settled([record for record in records if record not in kept], QUEUE_FULL)


def keep_undelivered(
    records: Iterable[Record], spool: Spool, delivery: Delivery, held: Held, deadline: float
) -> set[Record]:
    """Encode and spool those ENDs for which there is time; returns those that were kept."""
    kept: set[Record] = set()
    ends = (record for record in records if record.phase is END)
    while delivery.clock() < deadline and (chunk := list(islice(ends, _CHUNK_RECORDS))):
        kept |= {*spool.keep([record for record in chunk if _sealed(record, delivery)], held(chunk))}
    return kept


def _sealed(record: Record, delivery: Delivery) -> bool:
    try:
        delivery.seal(record)
    except EncodeError:
        return False
    return True


def deliver_spooled(delivery: Delivery, spool: Spool, batch: Sequence[Record], terms: Terms) -> Iterator[Event]:
    """Deliver ENDs that were claimed from `spool`, and let it know what became of each."""
    unsettled = {record.key: record for record in batch}
    try:
        for event in delivery.deliver(batch, terms):
            if isinstance(event, Settled) and event.ending.outcome in (Outcome.DELIVERED, Outcome.REJECTED):
                if event.ending.outcome is Outcome.DELIVERED:
                    spool.forget(event.records)
                else:
                    spool.dead_letter(event.records, event.why)
                for record in event.records:
                    del unsettled[record.key]
            yield event
    finally:
        spool.release(list(unsettled.values()))
