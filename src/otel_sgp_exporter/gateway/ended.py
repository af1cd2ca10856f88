"""The spans that have ended lately: a START that comes after the END would show a finished span as running."""

from __future__ import annotations

from collections.abc import Sequence

from .._record import END, START, Record, SpanKey

_MAX_SPANS = 100_000


class EndedSpans:
    """Bounded: the ENDs of 100,000 spans, the oldest forgotten first. Not safe to share between threads.

    Senders repeat what was not acknowledged, while others go on: so a START may come again when its END has long been
    delivered. Nothing is remembered before the first START, and most senders have none.
    """

    def __init__(self) -> None:
        self._ended: dict[SpanKey, None] = {}
        self._there_are_starts = False

    def without_late_starts(self, records: Sequence[Record]) -> Sequence[Record]:
        """Those of `records` that may be sent; their ENDs are remembered."""
        if not self._there_are_starts:
            self._there_are_starts = any(record.phase is START for record in records)
            if not self._there_are_starts:
                return records
        for record in records:
            if record.phase is END:
                self._ended[record.key] = None
        while len(self._ended) > _MAX_SPANS:
            del self._ended[next(iter(self._ended))]
        return [record for record in records if record.phase is END or record.key not in self._ended]
