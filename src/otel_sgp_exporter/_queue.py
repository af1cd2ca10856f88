"""Records by span, in the order of their age, and what they are charged with."""

from __future__ import annotations

from collections import OrderedDict

from ._record import Record, SpanKey


class Tally:
    """What several queues hold together."""

    def __init__(self) -> None:
        self.records = 0
        self.charged_bytes = 0


class Queue(OrderedDict[SpanKey, Record]):
    """One record for each span, oldest first."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.charged_bytes = 0
        self._tally = tally

    def push(self, record: Record, *, first: bool = False) -> None:
        """Add `record` as the newest, or as the oldest."""
        self[record.key] = record
        self.charged_bytes += record.charged_bytes
        self._tally.charged_bytes += record.charged_bytes
        self._tally.records += 1
        if first:
            self.move_to_end(record.key, last=False)

    def take(self, key: SpanKey) -> Record:
        """Remove the record of that span."""
        record = self.pop(key)
        self.charged_bytes -= record.charged_bytes
        self._tally.charged_bytes -= record.charged_bytes
        self._tally.records -= 1
        return record

    def hand_over(self, key: SpanKey, to: Queue, *, first: bool = False) -> None:
        """Move the record of that span to another queue of the same tally, as the newest or as the oldest there."""
        record = to[key] = self.pop(key)
        self.charged_bytes -= record.charged_bytes
        to.charged_bytes += record.charged_bytes
        if first:
            to.move_to_end(key, last=False)

    def charge(self, charged_bytes: int) -> None:
        """Count more bytes, or fewer."""
        self.charged_bytes += charged_bytes
        self._tally.charged_bytes += charged_bytes

    def oldest(self) -> Record:
        """The first record; there has to be one."""
        return next(iter(self.values()))

    def empty(self) -> list[Record]:
        """Remove all records."""
        return [self.take(key) for key in list(self)]
