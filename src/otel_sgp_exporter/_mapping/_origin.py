"""What a span brings along beside its attributes: ids, scope, resource, links, events, and its place in the trace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

from otel_sgp_exporter._joined import mark_in
from otel_sgp_exporter._mapping._events import source_of
from otel_sgp_exporter._mapping._facts import CHUNK_EVENTS, TIME_TO_FIRST_CHUNK
from otel_sgp_exporter._mapping._ids import timestamp, w3c_span_id, w3c_trace_id
from otel_sgp_exporter._mapping._memory import Recent
from otel_sgp_exporter._mapping._privacy import MappingOptions
from otel_sgp_exporter._mapping._reader import Reader
from otel_sgp_exporter._mapping._tidy import Tidy
from otel_sgp_exporter._mapping._usage import number
from otel_sgp_exporter._record import END, Record

_SPAN_ID = re.compile("[0-9a-f]{16}")


class _Origin(NamedTuple):
    """What all spans of one kind from one scope share; the mappings among it are copied for each."""

    told_by: tuple[Resource, InstrumentationScope | None, SpanKind]
    members: dict[str, Any]
    mappings: dict[str, dict[str, Any]]


_ORIGINS: Recent[tuple[int, int, int], _Origin] = Recent(1_000)
_MAX_REMEMBERED_ATTRIBUTES = 256
"""Of a resource and a scope together. A gateway reads some of 4,096: a thousand of those would be half a gigabyte."""

# Frameworks write the same stack trace into the event of every span that an exception passes through.
_MAX_EVENT_TEXT = 16_000


def read_origin(record: Record, reader: Reader, options: MappingOptions) -> dict[str, Any]:
    """Where the span came from, and how much of it the SDK dropped."""
    trace_id, span_id = record.key
    _, members, mappings = _origin_of(record.resource, record.instrumentation_scope, record.kind)
    origin: dict[str, Any] = {
        "__source__": "otel",
        "obs_trace_id": w3c_trace_id(trace_id),
        "obs_span_id": w3c_span_id(span_id),
        **members,
    }
    for name, mapping in mappings.items():
        origin[name] = mapping.copy()
    if record.links:
        origin["links"] = _links(record)
    if record.phase is END:
        if dropped := record.dropped_attributes:
            origin["dropped_attributes"] = dropped
        if dropped := record.dropped_events:
            origin["dropped_events"] = dropped
        if dropped := record.dropped_links:
            origin["dropped_links"] = dropped
        if record.events and (events := _events(record, reader, options)):
            origin["events"] = events
    return origin


def _origin_of(resource: Resource, scope: InstrumentationScope | None, kind: SpanKind) -> _Origin:
    """Told by the identity of the three, which are held so that nothing takes their place."""
    key = id(resource), id(scope), id(kind)
    found = _ORIGINS.get(key)
    if found is None:
        found = _read_origin(resource, scope, kind)
        if sum(map(len, found.mappings.values())) <= _MAX_REMEMBERED_ATTRIBUTES:
            _ORIGINS.add(key, found)
    return found


def _read_origin(resource: Resource, scope: InstrumentationScope | None, kind: SpanKind) -> _Origin:
    attributes = copied(resource.attributes)
    members = {
        "otel_kind": kind.name,
        "otel_scope": scope.name if scope else None,
        "otel_scope_version": scope.version if scope else None,
        "service_name": attributes.get("service.name"),
    }
    mappings = {"otel_scope_attributes": copied(scope.attributes) if scope else {}, "resource": attributes}
    return _Origin(
        (resource, scope, kind),
        {name: value for name, value in members.items() if value},
        {name: mapping for name, mapping in mappings.items() if mapping},
    )


def read_parent(
    record: Record, options: MappingOptions, exported: int | None, seal: str = ""
) -> tuple[int | None, int | None]:
    """The span id to link as the parent, and the W3C parent's id where that is another or none.

    Args:
        record: Of the span.
        options: Say which remote parents are linked.
        exported: The nearest ancestor that is exported, when it is not the span's parent: 0 for none, None to link the
            parent itself.
        seal: Of the trace that the span has joined in SGP: a parent elsewhere must be marked with the same.
    """
    parent = record.parent
    trace_id, span_id = record.key
    if parent is None or parent.trace_id != trace_id or parent.span_id == span_id:
        return None, None
    if exported is not None:
        return exported or None, parent.span_id
    if not parent.is_remote:
        return parent.span_id, None
    mark, its_seal = mark_in(parent.trace_state)
    if options.remote_parent == "root" or (options.remote_parent == "auto" and mark is None):
        return None, parent.span_id
    if its_seal != seal:
        return None, parent.span_id
    linked = _marked_span(mark) or parent.span_id
    return linked, None if linked == parent.span_id else parent.span_id


def _marked_span(mark: str | None) -> int | None:
    """The nearest ancestor that is in SGP, as the caller's propagator wrote it; None when that cannot be read."""
    return int(mark, 16) if mark and _SPAN_ID.fullmatch(mark) else None


def time_to_first_token_ms(record: Record, reader: Reader) -> float | None:
    """Milliseconds from the start of the span to the first piece of a streamed answer."""
    seconds = reader.first(TIME_TO_FIRST_CHUNK, number) if reader.layout[TIME_TO_FIRST_CHUNK] else None
    if seconds is not None:
        return seconds * 1000
    for event in record.events:
        if event.name in CHUNK_EVENTS:
            return (event.timestamp - record.start_ns) / 1e6
    return None


def copied(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """A plain dict of the SDK's mapping, which copies itself much faster than it can be read key by key."""
    copy = getattr(attributes, "copy", None)
    found = attributes if copy is None else copy()
    return found if type(found) is dict else dict(found or {})


def _links(record: Record) -> list[dict[str, Any]]:
    tidy = Tidy()
    return [
        {
            "trace_id": w3c_trace_id(link.context.trace_id),
            "span_id": w3c_span_id(link.context.span_id),
            "attributes": tidy(copied(link.attributes)),
        }
        for link in record.links
    ]


def _events(record: Record, reader: Reader, options: MappingOptions) -> list[dict[str, Any]]:
    tidy = Tidy(_MAX_EVENT_TEXT)
    return [
        {
            "name": event.name,
            "timestamp": timestamp(event.timestamp),
            "attributes": tidy(options.event_attributes(event.name, copied(event.attributes))),
        }
        for event in record.events
        if event.name not in CHUNK_EVENTS and source_of(event.name) not in reader.used
    ]
