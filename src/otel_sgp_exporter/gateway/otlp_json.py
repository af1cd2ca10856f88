"""OTLP's JSON as what protobuf's constructors take: other names, ids from hex, 64-bit integers from text. Pure.

protobuf's own reader of JSON takes three times as long, fifteen for empty objects, and reads ids as base64.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from .wire import NO_ORIGIN, NO_SPAN, Incoming, Invalid, WireError, named

_MAX_DEPTH = 40
"""Of lists and maps in a value; protobuf reads about as many of its own."""

Convert: TypeAlias = Callable[[Any], Any]
Fields: TypeAlias = dict[str, tuple[str, Convert | None]]


def incoming_json(request: Any) -> Iterator[Incoming | Invalid]:
    """The spans of an ExportTraceServiceRequest in JSON. Raises WireError for what is none."""
    if not isinstance(request, dict):
        raise WireError("The body is no object")
    for resource_spans in _each(request, "resourceSpans"):
        resource = _origin(Resource, _resource, resource_spans.get("resource"))
        for scope_spans in _each(resource_spans, "scopeSpans"):
            scope = _origin(InstrumentationScope, _scope, scope_spans.get("scope"))
            for span in _each(scope_spans, "spans"):
                yield _incoming(span, resource, scope)


def _each(parent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The children of that name. Raises WireError for what is no list of objects."""
    children = parent.get(name)
    if children is None:
        return []
    if not isinstance(children, list) or not all(isinstance(child, dict) for child in children):
        raise WireError(f"{name} is no list of objects")
    return children


def _origin(message: Callable[..., Resource | InstrumentationScope], convert: Convert, value: Any) -> bytes | None:
    """A resource or a scope in protobuf; None for one that cannot be read."""
    try:
        return message(**convert(value or {})).SerializeToString()
    except _UNREADABLE:
        return None


def _incoming(span: dict[str, Any], resource: bytes | None, scope: bytes | None) -> Incoming | Invalid:
    why = NO_ORIGIN
    if resource is not None and scope is not None:
        try:
            return Incoming(Span(**_span(span)), resource, scope)
        except _UNREADABLE:
            why = NO_SPAN
    ids = (_id(written) if isinstance(written := span.get(name), str) else b"" for name in ("traceId", "spanId"))
    return Invalid(named(*ids), why)


_UNREADABLE = (TypeError, ValueError, AttributeError)  # what becomes of JSON in another shape


def _message(fields: Fields) -> Convert:
    def convert(value: Any) -> dict[str, Any]:
        converted = {}
        for name, item in value.items():
            field = fields.get(name)  # what is not known is from the future
            if field is not None and item is not None:
                target, each = field
                converted[target] = item if each is None else each(item)
        return converted

    return convert


def _list(convert: Convert) -> Convert:
    return lambda items: [convert(item) for item in items]


def _id(hexadecimal: str) -> bytes:
    """An id that is no hex is a byte too few: its span is refused by itself, and not the whole request."""
    try:
        return bytes.fromhex(hexadecimal)
    except ValueError:
        return b"?"


def _enum(names: Any) -> Convert:
    by_name = dict(names.items())
    return lambda item: by_name.get(item, 0) if isinstance(item, str) else int(item)


def _any_value(value: Any, depth: int = 0) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    converted: dict[str, Any] = {}
    for name, item in value.items():
        if name == "stringValue":
            converted["string_value"] = item
        elif name == "arrayValue":
            values = [_any_value(each, depth + 1) for each in item.get("values") or ()]
            converted["array_value"] = {"values": values}
        elif name == "kvlistValue":
            pairs = [_key_value(each, depth + 1) for each in item.get("values") or ()]
            converted["kvlist_value"] = {"values": pairs}
        elif (scalar := _SCALARS.get(name)) is not None and item is not None:
            target, convert = scalar
            converted[target] = convert(item)
    return converted


def _key_value(pair: Any, depth: int = 0) -> dict[str, Any]:
    value = pair.get("value")
    return {"key": pair.get("key") or "", "value": _any_value({} if value is None else value, depth)}


_SCALARS: dict[str, tuple[str, Convert]] = {
    "boolValue": ("bool_value", lambda item: item),
    "intValue": ("int_value", int),
    "doubleValue": ("double_value", float),
    "bytesValue": ("bytes_value", base64.b64decode),
}
_ATTRIBUTES: tuple[str, Convert] = ("attributes", _list(_key_value))
_DROPPED: tuple[str, Convert] = ("dropped_attributes_count", int)
_COMMON: Fields = {"attributes": _ATTRIBUTES, "droppedAttributesCount": _DROPPED}
_IDS: Fields = {"traceId": ("trace_id", _id), "spanId": ("span_id", _id), "traceState": ("trace_state", None)}

_event = _message({**_COMMON, "name": ("name", None), "timeUnixNano": ("time_unix_nano", int)})
_link = _message({**_COMMON, **_IDS, "flags": ("flags", int)})
_status = _message({"message": ("message", None), "code": ("code", _enum(Status.StatusCode))})
_span = _message(
    {
        **_COMMON,
        **_IDS,
        "parentSpanId": ("parent_span_id", _id),
        "flags": ("flags", int),
        "name": ("name", None),
        "kind": ("kind", _enum(Span.SpanKind)),
        "startTimeUnixNano": ("start_time_unix_nano", int),
        "endTimeUnixNano": ("end_time_unix_nano", int),
        "events": ("events", _list(_event)),
        "droppedEventsCount": ("dropped_events_count", int),
        "links": ("links", _list(_link)),
        "droppedLinksCount": ("dropped_links_count", int),
        "status": ("status", _status),
    }
)
_scope = _message({**_COMMON, "name": ("name", None), "version": ("version", None)})
_resource = _message(_COMMON)
