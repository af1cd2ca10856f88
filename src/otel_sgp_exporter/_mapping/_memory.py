"""What the mapping remembers between spans of a trace, and between the two records of a span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from otel_sgp_exporter._record import Record, SpanKey

K = TypeVar("K")
V = TypeVar("V")

_MAX_TRACES = 10_000
_MAX_CALLS = 10_000
_MAX_OPEN_SPANS = 1_024
_MAX_START_BYTES = 8_192


class Recent(dict[K, V]):
    """The newest `limit` entries, a few more while several threads add at once; `add` is the way to put them in.

    Needs no lock: every step is one operation of a dict, and losing a race only forgets an entry early.
    """

    __slots__ = ("_limit",)

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def add(self, key: K, value: V) -> V:
        """Keep the first value seen under the key; forget the oldest entry when there are too many."""
        kept = self.setdefault(key, value)
        if len(self) > self._limit:
            self._forget_oldest()
        return kept

    def _forget_oldest(self) -> None:
        try:
            self.pop(next(iter(self)), None)
        except (RuntimeError, StopIteration):
            return  # Another thread changed the dict meanwhile; the next add tries again.


class Opened(NamedTuple):
    """What a span's START said: it may be gone by the END."""

    attributes: Mapping[Any, Any]
    group_id: str | None


class TraceMemory:
    """Bounded, safe to share between threads; whoever maps owns one.

    It holds the group id of 10,000 traces, 10,000 billed calls, and the attributes of 1,024 open spans, at most 8 KiB
    each. Entries beyond a bound are forgotten oldest first, and the item is then built from the record alone.
    """

    __slots__ = ("_billed", "_groups", "_opened", "_warned")

    def __init__(self) -> None:
        self._groups: Recent[int, str] = Recent(_MAX_TRACES)
        self._billed: Recent[tuple[SpanKey, str], bool] = Recent(_MAX_CALLS)
        self._opened: Recent[SpanKey, Opened] = Recent(_MAX_OPEN_SPANS)
        self._warned: Recent[str, bool] = Recent(64)

    def remember_start(self, record: Record, group_id: str | None = None) -> None:
        """Keep what a START knew until its END: the SDK's attribute limit evicts the oldest keys first."""
        if record.charged_bytes <= _MAX_START_BYTES:
            self._opened.add(record.key, Opened(record.attributes, group_id))

    def recall_start(self, key: SpanKey) -> Opened | None:
        """What the span's START said, once."""
        return self._opened.pop(key, None)

    def inherit_group(self, trace_id: int, own: str | None) -> str | None:
        """The span's own group id, else the first one seen in its trace."""
        if own is None:
            return self._groups.get(trace_id)
        self._groups.add(trace_id, own)
        return own

    def note_billed(self, parent: SpanKey, span_type: str) -> None:
        """A call of this type with usage has ended under `parent`."""
        self._billed.add((parent, span_type), True)

    def has_billed_child(self, key: SpanKey, span_type: str) -> bool:
        """True if a child of the same type has reported usage: the same call, seen twice."""
        return self._billed.get((key, span_type)) is True

    def first_warning(self, topic: str) -> bool:
        """True the first time that the topic comes up."""
        known = self._warned.get(topic)
        self._warned.add(topic, True)
        return known is None

    def __repr__(self) -> str:
        return f"<TraceMemory traces={len(self._groups)} calls={len(self._billed)} open={len(self._opened)}>"
