"""What has become of the records of one request, counted down until all have ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.trace import format_span_id, format_trace_id

from .._outcome import DropReason, Ending, Outcome
from .._record import Record

_NAMED = 20


class Rejections:
    """Spans that SGP will never take, the first ones by name."""

    def __init__(self) -> None:
        self.count = 0
        self._named: list[str] = []

    def add(self, span: str, why: str) -> None:
        """`span` by its ids, and why it is rejected."""
        self.count += 1
        if len(self._named) < _NAMED:
            self._named.append(f"{span}: {why}")

    def __str__(self) -> str:
        more = f"; and {self.count - len(self._named)} more" if self.count > len(self._named) else ""
        return f"rejected spans: {'; '.join(self._named)}{more}" if self.count else ""


class Receipt:
    """Is told of the end of each record, and calls `done` once when there is nothing more to wait for.

    It is called under the lock of the one pipeline that has all of the records, so never by two threads at once.
    """

    def __init__(self, records: int, rejections: Rejections, done: Callable[[], Any]) -> None:
        self.records = records
        self._left = records
        self._done = done
        self.rejections = rejections
        self.undelivered: DropReason | None = None
        """Why one of the records was given up: the request is to be sent again."""

    def __call__(self, record: Record, ending: Ending) -> None:
        if ending.outcome is Outcome.REJECTED:
            trace_id, span_id = record.key
            why = ending.reason.value if ending.reason else "rejected"
            self.rejections.add(f"{format_span_id(span_id)} of trace {format_trace_id(trace_id)}", why)
        elif ending.outcome is Outcome.DROPPED:
            self.undelivered = ending.reason
        self._left -= 1
        if not self._left:
            self._done()

    @property
    def is_settled(self) -> bool:
        return not self._left
