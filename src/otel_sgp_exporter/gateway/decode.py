"""Bytes to the OTLP request that they stand for, from protobuf or JSON. Pure."""

from __future__ import annotations

from enum import Enum

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .otlp_json import ERRORS, request_fields
from .refusal import malformed, too_large

# A value in JSON is one or two bytes and 50 to 200 in memory; text of the same size is nothing to fear.
_MAX_JSON_VALUES = 3_000_000


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
    try:
        return ExportTraceServiceRequest(**request_fields(found))
    except ERRORS:
        raise malformed("The body is no ExportTraceServiceRequest in JSON") from None
