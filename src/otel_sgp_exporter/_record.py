"""One START or END of one span: what the exporter keeps of it until it is encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from sys import getsizeof
from typing import Any, TypeAlias

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

SpanKey: TypeAlias = tuple[int, int]
"""(trace id, span id): what a lane is named by."""

Receipt: TypeAlias = "Callable[[Record, Any], object]"
"""Told, under the pipeline's lock, how a record ended (its `Ending`): never waits and never raises."""

Seen: TypeAlias = tuple[str, Mapping[Any, Any], Sequence[Link]]
"""What others may change of a span at any moment: its name, and copies of its attributes and links."""

# A record's own cost beside its values: the objects around them, and the resource fields that every item repeats.
_FIXED_BYTES = 1024
_EVENT_BYTES = 256
_UNSET = Status(StatusCode.UNSET)
_MAX_DEPTH = 8
_ATTRIBUTES, _LINKS, _EVENTS = ReadableSpan.attributes, ReadableSpan.links, ReadableSpan.events


class Phase(Enum):
    """Which of a span's two upserts a record is."""

    START = "start"
    END = "end"
    REASSERT = "reassert"
    """An END once more, after a START that may have been applied late. It was counted when it was an END."""


# By these names elsewhere: to look a member up costs as much as a call, before Python 3.12.
START, END, REASSERT = Phase


class Record:
    """One START or END of one span: copies of what is needed, and no reference to the span.

    A span of the SDK is a dozen objects; holding thousands of them would keep the garbage collector busy. Once encoded,
    a record is its `fragment`, and what was taken off the span is let go.

    A record has one owner at a time: the thread that made it, the lanes (under the pipeline's lock), or a sender.
    """

    __slots__ = (
        "ancestor",
        "attributes",
        "charged_bytes",
        "dropped_attributes",
        "dropped_events",
        "dropped_links",
        "end_ns",
        "epoch",
        "events",
        "explains_trace",
        "fragment",
        "instrumentation_scope",
        "key",
        "kind",
        "links",
        "name",
        "offered_at",
        "parent",
        "phase",
        "receipts",
        "resource",
        "start_ns",
        "started",
        "status",
    )

    def __init__(self, phase: Phase, key: SpanKey, span: ReadableSpan, seen: Seen | None = None) -> None:
        self.phase = phase
        self.key = key
        self.name, self.attributes, self.links = seen or (span.name, attributes_of(span), links_of(span))
        self.parent: SpanContext | None = span.parent
        self.kind = span.kind
        self.resource = span.resource
        self.instrumentation_scope = span.instrumentation_scope
        self.start_ns = span.start_time or span.end_time or 0  # nanoseconds since the epoch
        if phase is START:
            self._leave_open()
        else:
            self.end_ns: int | None = (
                span.end_time or self.start_ns
            )  # as the span gave it, so possibly before the start
            self.status = span.status
            self.events: Sequence[Event] = _events_of(span)
            self.dropped_attributes = span.dropped_attributes
            self.dropped_events = span.dropped_events
            self.dropped_links = span.dropped_links
        self.explains_trace = phase is END and self._explains_trace()  # last to give up under pressure
        self.charged_bytes = _FIXED_BYTES + _size(self.attributes)
        if self.events:
            self.charged_bytes += _size_of_events(self.events)
        self.fragment: bytes | None = None
        self.ancestor: int | None = None  # the span to link instead of a parent that is not exported; 0 for none
        self.started: ReadableSpan | None = None  # the running span of a START that may be refreshed
        self.receipts: list[Receipt] | None = None
        self.offered_at = 0.0  # monotonic seconds, and the flush it belongs to: both set when the lanes admit it
        self.epoch = 0

    def _leave_open(self) -> None:
        self.end_ns = None
        self.status = _UNSET
        self.events = ()
        self.dropped_attributes = self.dropped_events = self.dropped_links = 0

    def _explains_trace(self) -> bool:
        """True for the END of a local root and of a failed span."""
        return self.parent is None or self.parent.is_remote or self.status.status_code is StatusCode.ERROR

    @classmethod
    def of_fragment(cls, phase: Phase, key: SpanKey, fragment: bytes) -> Record:
        """A record of an item that is encoded already."""
        record = cls.__new__(cls)
        record.phase, record.key, record.explains_trace = phase, key, True
        record.fragment, record.charged_bytes = fragment, len(fragment)
        record.offered_at, record.epoch, record.started, record.receipts = 0.0, 0, None, None
        return record

    def refresh(self) -> None:
        """For a START that has waited: what the span is called and holds by now. Takes no lock of the span."""
        if self.started is not None:
            with suppress(Exception):  # a span that breaks meanwhile is shown as it started
                self.name, self.attributes = self.started.name, attributes_of(self.started)

    def adopt(self, start: Record) -> None:
        """For an END in place of its START: what the START knew and the SDK's attribute limit has evicted since."""
        if self.fragment is None and start.fragment is None and self.dropped_attributes:
            self.attributes = {**start.attributes, **self.attributes}

    def stand_in_for(self, superseded: Record) -> None:
        """Whoever waits for the end of `superseded`, of the same span, waits for this one's from here on."""
        if superseded.receipts:
            superseded.receipts.extend(self.receipts or ())
            self.receipts, superseded.receipts = superseded.receipts, None

    def abridge(self, max_bytes: int) -> None:
        """For an END that is larger than all that may be held: leave out what is largest, and say how large it was."""
        if self.fragment is not None:
            return
        attributes = dict(self.attributes)
        sizes = {key: _size({key: value}) for key, value in attributes.items()}
        for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
            if self.charged_bytes <= max_bytes or sizes[key] < _FIXED_BYTES:
                break
            attributes[key] = f"[{sizes[key]} bytes left out: too large for max_queue_bytes]"
            self.charged_bytes -= sizes[key] - len(attributes[key])
        self.attributes = attributes
        if self.charged_bytes > max_bytes:
            self.charged_bytes -= _size_of_events(self.events)
            self.dropped_events += len(self.events)
            self.events = ()

    def seal(self, fragment: bytes) -> None:
        """From here on the record is its encoded item."""
        self.fragment = fragment
        self.attributes, self.links, self.events = {}, (), ()
        self.parent = self.started = None

    def __repr__(self) -> str:
        trace_id, span_id = self.key
        return f"<Record {self.phase.name} of span {span_id:016x} in trace {trace_id:032x}>"


def snapshot(phase: Phase, span: ReadableSpan) -> Record | None:
    """Copy what the exporter needs off `span`, in the application's thread; None when the span has no context."""
    context = span.get_span_context()
    return None if context is None else Record(phase, (context.trace_id, context.span_id), span)


# The SDK's properties wrap attributes anew whenever they are asked, and copy links and events, under a lock, even where
# there are none. Other properties are asked: somebody may hide something behind them.
def attributes_of(span: ReadableSpan) -> Mapping[Any, Any]:
    """A copy of what the span holds at this moment. Takes no lock of the span."""
    is_the_sdks = getattr(type(span), "attributes", None) is _ATTRIBUTES
    return copied(span._attributes if is_the_sdks else span.attributes)


def links_of(span: ReadableSpan) -> Sequence[Link]:
    """What the span links to at this moment."""
    is_the_sdks = getattr(type(span), "links", None) is _LINKS
    return () if is_the_sdks and not span._links else span.links


def _events_of(span: ReadableSpan) -> Sequence[Event]:
    is_the_sdks = getattr(type(span), "events", None) is _EVENTS
    return () if is_the_sdks and not span._events else span.events


def copied(attributes: Mapping[str, Any] | None) -> Mapping[Any, Any]:
    """A copy that nobody else changes, of a mapping that somebody may be changing."""
    # The SDK's mapping copies itself in one C call, safe against a concurrent set_attribute; iterating it is neither
    # fast nor safe. Shallow is enough: the SDK stores copies of nested values that it never changes.
    copy = getattr(attributes, "copy", None)
    return copy() if copy is not None else dict(attributes or {})


def _size(attributes: Mapping[Any, Any]) -> int:
    """About the bytes that the values hold in memory."""
    total = 0
    for value in attributes.values():
        total += len(value) if type(value) is str and value.isascii() else _nested_size(value, _MAX_DEPTH)
    return total


def _size_of_events(events: Sequence[Event]) -> int:
    return sum(_EVENT_BYTES + _size(copied(event.attributes)) for event in events)


def _nested_size(value: Any, depth: int) -> int:
    """The same for any value; what is nested deeper than `depth` counts as nothing."""
    if isinstance(value, (str, bytes, int, float)) or not depth:
        return getsizeof(value)
    if isinstance(value, Mapping):
        return sum(_nested_size(key, 0) + _nested_size(item, depth - 1) for key, item in value.items())
    if isinstance(value, Sequence):
        return sum(_nested_size(item, depth - 1) for item in value)
    return getsizeof(value)
