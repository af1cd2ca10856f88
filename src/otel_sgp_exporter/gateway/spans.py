"""OTLP spans to records: an END for a span that has ended, a START for one that has not. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import cast

from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from .._joined import MEMBER
from .._record import END, START, Record
from .values import Unpacker
from .wire import NO_ORIGIN, UNREADABLE, Incoming, Invalid, named

MAX_ORIGIN_BYTES = 64 * 1024
"""Of a resource and of a scope: each of their spans repeats it."""

_REMEMBERED_ORIGIN_BYTES = 8 * 1024
_MAX_EVENTS = 4_096
_MAX_LINKS = 4_096
_VALUE_BYTES = 128  # of a small value, its key and their places in a dict
_EVENT_BYTES = 512
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_KNOWS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200  # in the flags of a span
_KINDS = (
    SpanKind.INTERNAL,
    SpanKind.INTERNAL,
    SpanKind.SERVER,
    SpanKind.CLIENT,
    SpanKind.PRODUCER,
    SpanKind.CONSUMER,
)
_CALLED = (trace_pb2.Span.SPAN_KIND_SERVER, trace_pb2.Span.SPAN_KIND_CONSUMER)
_MAX_TRACESTATE = 4_096
# The one member that means anything to us. The SDK's own reader writes what it does not like into the log.
_MARK = re.compile(rf"(?:^|,)[ \t]*{MEMBER}=([0-9A-Za-z.]{{1,64}})[ \t]*(?:,|$)")
_UNSET, _OK = Status(StatusCode.UNSET), Status(StatusCode.OK)

# Logfire says that a span has started by a span of its own, whose parent is the one that has started.
_LOGFIRE_TYPE = "logfire.span_type"
_LOGFIRE_PENDING = "pending_span"
_LOGFIRE_PARENT = "logfire.pending_parent_id"
_HEX = re.compile("[0-9a-f]{1,16}")


class OtlpSpan:
    """What a record reads of a span."""

    def __init__(self, span: trace_pb2.Span, resource: Resource, scope: InstrumentationScope) -> None:
        unpacker = Unpacker()
        self.trace_id = _id(span.trace_id, _TRACE_ID_BYTES, "trace id")
        self.span_id = _id(span.span_id, _SPAN_ID_BYTES, "span id")
        self.name = span.name
        self.kind = _KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else SpanKind.INTERNAL
        self.resource = resource
        self.instrumentation_scope = scope
        self.start_time = span.start_time_unix_nano
        self.end_time = span.end_time_unix_nano
        self.attributes, dropped = unpacker.attributes(span.attributes)
        self.events = [_event(event, unpacker) for event in span.events[:_MAX_EVENTS]]
        self.links = [link for each in span.links[:_MAX_LINKS] if (link := _link(each, unpacker))]
        self.status = _status(span.status)
        self.dropped_attributes = span.dropped_attributes_count + dropped
        self.dropped_events = span.dropped_events_count + max(len(span.events) - _MAX_EVENTS, 0)
        self.dropped_links = span.dropped_links_count + len(span.links) - len(self.links)
        self.parent = self._parent(span)
        self.values = unpacker.count

    def _parent(self, span: trace_pb2.Span) -> SpanContext | None:
        if not span.parent_span_id or not any(span.parent_span_id):
            return None
        parent_id = _id(span.parent_span_id, _SPAN_ID_BYTES, "parent span id")
        remote = bool(span.flags & _IS_REMOTE) if span.flags & _KNOWS_IS_REMOTE else span.kind in _CALLED
        # OTLP has no tracestate of the parent; the span's own is the same unless a sampler has changed it.
        mark = _MARK.search(span.trace_state) if remote and len(span.trace_state) < _MAX_TRACESTATE else None
        state = TraceState([(MEMBER, mark[1])]) if mark else None
        return SpanContext(self.trace_id, parent_id, remote, _SAMPLED, state)

    @property
    def has_ended(self) -> bool:
        return self.end_time > 0 and self.attributes.get(_LOGFIRE_TYPE) != _LOGFIRE_PENDING

    def stand_for_started(self) -> None:
        """Turn one of Logfire's pending spans into the span of which it says that it has started."""
        if self.attributes.pop(_LOGFIRE_TYPE, None) != _LOGFIRE_PENDING:
            return
        if self.parent is None:
            raise ValueError("a pending span without the span that it stands for")
        above = str(self.attributes.pop(_LOGFIRE_PARENT, ""))
        if above.strip("0") and not _HEX.fullmatch(above):
            raise ValueError("a pending span with a parent id that is no hex")
        self.span_id = self.parent.span_id
        self.parent = SpanContext(self.trace_id, int(above, 16), is_remote=False) if above.strip("0") else None


def records_of(spans: Iterable[Incoming | Invalid]) -> Iterator[Record | Invalid]:
    """A record for each of the spans, in order, or what is wrong with it.

    A record is charged with about the memory that it takes, and at least with what it will be as JSON.
    """
    for each in spans:
        if isinstance(each, Invalid):
            yield each
            continue
        span, resource, scope = each
        origin_bytes = len(resource) + len(scope)
        if origin_bytes > MAX_ORIGIN_BYTES:
            why = f"its resource and scope have more than {MAX_ORIGIN_BYTES} bytes"
            yield Invalid(named(span.trace_id, span.span_id), why)
            continue
        try:
            origin = _resource_of(resource), _scope_of(scope)
        except UNREADABLE:
            yield Invalid(named(span.trace_id, span.span_id), NO_ORIGIN)
            continue
        yield _record(span, *origin, origin_bytes)


def _record(
    span: trace_pb2.Span, resource: Resource, scope: InstrumentationScope, origin_bytes: int
) -> Record | Invalid:
    try:
        unpacked = OtlpSpan(span, resource, scope)
        phase = END if unpacked.has_ended else START
        if phase is START:
            unpacked.stand_for_started()
    except ValueError as error:
        return Invalid(named(span.trace_id, span.span_id), str(error))
    record = Record(phase, (unpacked.trace_id, unpacked.span_id), cast(ReadableSpan, unpacked))
    rest = len(unpacked.events) + len(unpacked.links)
    record.charged_bytes += origin_bytes + span.ByteSize() + _VALUE_BYTES * unpacked.values + _EVENT_BYTES * rest
    return record


def _id(data: bytes, size: int, what: str) -> int:
    """Raises ValueError for one that W3C does not allow."""
    if len(data) != size:
        raise ValueError(f"a {what} of {len(data)} bytes instead of {size}")
    found = int.from_bytes(data, "big")
    if not found:
        raise ValueError(f"a {what} of zeros")
    return found


def _event(event: trace_pb2.Span.Event, unpacker: Unpacker) -> Event:
    return Event(event.name, unpacker.attributes(event.attributes)[0], event.time_unix_nano)


def _link(link: trace_pb2.Span.Link, unpacker: Unpacker) -> Link | None:
    if len(link.trace_id) != _TRACE_ID_BYTES or len(link.span_id) != _SPAN_ID_BYTES:
        return None
    context = SpanContext(int.from_bytes(link.trace_id, "big"), int.from_bytes(link.span_id, "big"), is_remote=True)
    return Link(context, unpacker.attributes(link.attributes)[0])


def _status(status: trace_pb2.Status) -> Status:
    if status.code == trace_pb2.Status.STATUS_CODE_ERROR:
        return Status(StatusCode.ERROR, status.message or None)
    return _OK if status.code == trace_pb2.Status.STATUS_CODE_OK else _UNSET


# The same objects for the same bytes: what the mapping makes of an origin, it then makes once.
def _resource(data: bytes) -> Resource:
    message = resource_pb2.Resource.FromString(data)
    return Resource(Unpacker().attributes(message.attributes)[0])


def _scope(data: bytes) -> InstrumentationScope:
    message = common_pb2.InstrumentationScope.FromString(data)
    attributes = Unpacker().attributes(message.attributes)[0]
    return InstrumentationScope(message.name, message.version or None, None, attributes or None)


_known_resource, _last_resource = lru_cache(1_000)(_resource), lru_cache(1)(_resource)
_known_scope, _last_scope = lru_cache(1_000)(_scope), lru_cache(1)(_scope)


# Of large ones only the last: its spans come in a row, and a thousand of such objects would be a gigabyte.
def _resource_of(data: bytes) -> Resource:
    return _last_resource(data) if len(data) > _REMEMBERED_ORIGIN_BYTES else _known_resource(data)


def _scope_of(data: bytes) -> InstrumentationScope:
    return _last_scope(data) if len(data) > _REMEMBERED_ORIGIN_BYTES else _known_scope(data)
