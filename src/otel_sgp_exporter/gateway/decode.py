"""Bytes to the OTLP request that they stand for, from protobuf or JSON. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from enum import Enum
from typing import Any

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .refusal import malformed, too_large

# A value in JSON is one or two bytes and 50 to 200 in memory; text of the same size is nothing to fear.
_MAX_JSON_VALUES = 3_000_000
_IDS = ("traceId", "spanId", "parentSpanId")


class Encoding(Enum):
    """How a request is written; the value is its content type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


def decode(body: bytes, encoding: Encoding) -> ExportTraceServiceRequest:
    """The request in `body`. Raises Refusal."""
    return _from_json(body) if encoding is Encoding.JSON else _from_protobuf(body)


def _from_protobuf(body: bytes) -> ExportTraceServiceRequest:
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise malformed("The body is no ExportTraceServiceRequest in protobuf") from None


def _from_json(body: bytes) -> ExportTraceServiceRequest:
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_JSON_VALUES:
        raise too_large(f"The body holds more than {_MAX_JSON_VALUES} JSON values")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise malformed("The body is not JSON") from None
    if not isinstance(found, dict):
        raise malformed("The body is no JSON object")
    for holder in _holders_of_ids(found):
        for name in _IDS:
            if isinstance(text := holder.get(name), str):
                holder[name] = _base64(text)
    try:
        return json_format.ParseDict(found, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (json_format.ParseError, TypeError, AttributeError, ValueError, RecursionError):
        raise malformed("The body is no ExportTraceServiceRequest in JSON") from None


def _holders_of_ids(request: Any) -> Iterator[dict[str, Any]]:
    """The spans and links, whose ids OTLP writes in hex where the JSON of protobuf has base64."""
    for resource_spans in _dicts(request, "resourceSpans"):
        for scope_spans in _dicts(resource_spans, "scopeSpans"):
            for span in _dicts(scope_spans, "spans"):
                yield span
                yield from _dicts(span, "links")


def _dicts(parent: Any, name: str) -> list[dict[str, Any]]:
    children = parent.get(name) if isinstance(parent, dict) else None
    return [child for child in children if isinstance(child, dict)] if isinstance(children, list) else []


def _base64(hexadecimal: str) -> str:
    """An id that is no hex becomes a byte too few: its span is refused by itself, and not the whole request."""
    try:
        return base64.b64encode(bytes.fromhex(hexadecimal)).decode()
    except ValueError:
        return base64.b64encode(b"?").decode()
