"""Bytes to the spans of the OTLP request that they stand for, from protobuf or JSON. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import orjson

from .otlp_json import incoming_json
from .refusal import malformed, too_large
from .wire import Incoming, Invalid, WireError, incoming

# A value in JSON is one or two bytes and 50 to 200 in memory; text of the same size is nothing to fear.
_MAX_JSON_VALUES = 3_000_000
_SURROGATE = re.compile("[\ud800-\udfff]")


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


def _from_json(body: bytes) -> Iterator[Incoming | Invalid]:
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_JSON_VALUES:
        raise too_large(f"The body holds more than {_MAX_JSON_VALUES} JSON values")
    try:
        return incoming_json(_loaded(body))
    except (ValueError, RecursionError):
        raise WireError("The body is no JSON") from None


def _loaded(body: bytes) -> Any:
    """The value of `body`, with U+FFFD for lone surrogates: JavaScript writes them where it cuts an emoji in two."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:  # it refuses surrogates
        text = json.dumps(json.loads(body.decode()), ensure_ascii=False)
        return orjson.loads(_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text))
