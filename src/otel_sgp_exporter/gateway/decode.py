"""Bytes to the spans of the OTLP request that they stand for, from protobuf or JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import orjson

from .otlp_json import ERRORS, incoming_json
from .refusal import malformed, too_large
from .wire import Incoming, Invalid, WireError, incoming

# A value in JSON is one or two bytes and 50 to 200 in memory; text of the same size is nothing to fear.
_MAX_JSON_VALUES = 3_000_000


class Encoding(Enum):
    """How a request is written; the value is its content type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


def decode(body: bytes, encoding: Encoding) -> Iterator[Incoming | Invalid]:
    """The spans in `body`, one after the other. Raises Refusal, possibly after some of them."""
    try:
        yield from incoming(body) if encoding is Encoding.PROTOBUF else _from_json(body)
    except WireError as error:
        raise malformed(str(error)) from None
    except (orjson.JSONDecodeError, *ERRORS):
        raise malformed(f"The body is no ExportTraceServiceRequest as {encoding.value}") from None


def _from_json(body: bytes) -> Iterator[Incoming]:
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_JSON_VALUES:
        raise too_large(f"The body holds more than {_MAX_JSON_VALUES} JSON values")
    return incoming_json(orjson.loads(body))
