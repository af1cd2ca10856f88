"""Lets records in as long as there is room for them: back-pressure becomes an answer, never memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from .._record import Record
from .ended import EndedSpans
from .receipt import Receipt, Rejections
from .refusal import too_large, unavailable
from .spans import records_of
from .tenants import Tenant, Tenants
from .wire import Incoming, Invalid


class Intake:
    """One for all tenants, and for whatever brings requests. Any thread may call.

    With several tenants, each may hold as much as is left for the others: one whose account is blocked fills half of
    the room, two fill two thirds, and what remains serves the rest.

    Args:
        tenants: Who holds what.
        max_records: Records held at most.
        max_bytes: Bytes held at most, estimated until they are encoded.
    """

    def __init__(self, tenants: Tenants, max_records: int, max_bytes: int) -> None:
        self._tenants = tenants
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # one request at a time: else two would fill the same room
        self._ended = EndedSpans()

    def take(self, tenant: Tenant, spans: Iterable[Incoming | Invalid], done: Callable[[], object] | None) -> Receipt:
        """Offer the spans of a request to the tenant's pipeline, all or none.

        Args:
            tenant: Whose spans they are.
            spans: As they are decoded; what is raised then is raised here, and nothing is offered.
            done: Called once all of them have ended, in any thread; None when nobody waits for that.

        Raises:
            Refusal: There is no room now, or never will be.
        """
        with self._lock:
            unpacked, rejections = self._unpacked(tenant, spans)
            records = self._ended.without_late_starts(unpacked)
            tenant.exporter.delivery.encoder.foresee(records)
            receipt = Receipt(len(records), rejections, done or (lambda: None))
            for record in records:
                if done is not None:
                    record.receipts = [receipt]
                tenant.pipeline.offer((_itself, record))
        return receipt

    def _unpacked(self, tenant: Tenant, spans: Iterable[Incoming | Invalid]) -> tuple[list[Record], Rejections]:
        if tenant.pipeline.is_blocked and tenant.pipeline.stats().pending:  # else there is nothing to probe with
            raise unavailable("SGP refuses the API key or the account, or is not at its address", 5)
        room_records, room_bytes = self._room(tenant)
        records: list[Record] = []
        rejections = Rejections()
        size = 0
        for each in records_of(spans):
            if isinstance(each, Invalid):
                rejections.add(*each)
                continue
            records.append(each)
            size += each.charged_bytes
            if len(records) > self._max_records or size > self._max_bytes:
                raise too_large("The spans of one request are more than the gateway holds: send fewer at a time")
            if len(records) > room_records or size > room_bytes:
                raise unavailable("The gateway holds as much as it may: SGP takes spans more slowly than they come")
        return records, rejections

    def _room(self, tenant: Tenant) -> tuple[int, int]:
        """Records and bytes that the tenant may add."""
        stats = {each: each.pipeline.stats() for each in self._tenants.known()}
        records = self._max_records - sum(each.pending for each in stats.values())
        size = self._max_bytes - sum(each.held_bytes for each in stats.values())
        if self._tenants.are_several and tenant in stats:
            records -= stats[tenant].pending
            size -= stats[tenant].held_bytes
        return records, size


def _itself(record: Record) -> Record:
    """Made already: a request is taken whole or not at all, so all of it has been looked at."""
    return record
