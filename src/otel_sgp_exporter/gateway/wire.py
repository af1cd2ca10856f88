"""The spans of an OTLP request in protobuf, each by itself. Pure.

Parsed whole, an empty span of two bytes becomes two hundred, and 20 MB become two gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

MAX_SPAN_BYTES = 8 * 1024 * 1024
MAX_FIELDS = 20_000
"""Of a span that is larger than `_LARGE_BYTES`: an empty event is two bytes, and eighty in memory."""

_LARGE_BYTES = 256 * 1024
_MAX_STEPS = 300_000  # resources, scopes and spans, empty ones too, and the fields of large and broken spans

_BROKEN = "The body is no ExportTraceServiceRequest in protobuf"
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_RESOURCE_SPANS = 1
_ORIGIN, _CHILDREN = 1, 2  # of resource spans and of scope spans alike
_TRACE_ID, _SPAN_ID = 1, 2  # of a span

NO_SPAN = "it is no span of OTLP: a field of the wrong kind, text that is no UTF-8, or values nested too deeply"
NO_ORIGIN = "its resource or scope is no message of OTLP"
UNREADABLE = (DecodeError, ValueError)
"""What protobuf raises: without a wheel of C, a UnicodeDecodeError for text that is no UTF-8."""


class WireError(ValueError):
    """What came is no request of OTLP."""


class Invalid(NamedTuple):
    """A span that cannot become a record, and why."""

    span: str
    why: str


class Incoming(NamedTuple):
    """A span with the messages of its resource and its scope, in bytes."""

    span: Span
    resource: bytes
    scope: bytes


def incoming(body: bytes) -> Iterator[Incoming | Invalid]:
    """The spans in `body`, which is an ExportTraceServiceRequest. Raises WireError."""
    walk = _Walk(body)
    for number, start, end in walk.fields(0, len(body)):
        if number == _RESOURCE_SPANS:
            resource, scopes = walk.parts(start, end)
            for scope_start, scope_end in scopes:
                scope, spans = walk.parts(scope_start, scope_end)
                for span_start, span_end in spans:
                    span = walk.span(span_start, span_end)
                    yield span if isinstance(span, Invalid) else Incoming(span, resource, scope)


class _Walk:
    """Goes over the fields of messages without a look into them."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._steps = 0

    def parts(self, start: int, end: int) -> tuple[bytes, list[tuple[int, int]]]:
        """A message of one origin and many children: the origin's bytes, and where each child begins and ends."""
        origin = b""
        children = []
        for number, field_start, field_end in self.fields(start, end):
            if number == _CHILDREN:
                children.append((field_start, field_end))
            elif number == _ORIGIN:
                origin = self._body[field_start:field_end]
        return origin, children

    def span(self, start: int, end: int) -> Span | Invalid:
        """The span there. One that is too large, or that protobuf cannot read, costs itself and no other."""
        try:
            why = self._objection(start, end)
            if not why:
                return Span.FromString(self._body[start:end])
        except UNREADABLE:
            why = NO_SPAN
        return Invalid(self._named(start, end), why)

    def _objection(self, start: int, end: int) -> str:
        """What is to be said against a span before it is parsed; empty for nothing. Raises WireError."""
        if end - start < _LARGE_BYTES:
            return ""
        if end - start > MAX_SPAN_BYTES:
            return f"it has more than {MAX_SPAN_BYTES} bytes"
        if sum(1 for _ in islice(self.fields(start, end), MAX_FIELDS + 1)) > MAX_FIELDS:
            return f"it has more than {MAX_FIELDS} attributes, events and links"
        return ""

    def _named(self, start: int, end: int) -> str:
        """The span there by its ids, as far as they can be read."""
        ids: dict[int, bytes] = {}
        with suppress(WireError):
            for number, field_start, field_end in self.fields(start, end):
                if number in (_TRACE_ID, _SPAN_ID):
                    ids[number] = self._body[field_start:field_end]
                if len(ids) == 2:
                    break
        return named(ids.get(_TRACE_ID, b""), ids.get(_SPAN_ID, b""))

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The number, the beginning and the end of each field with a length. Raises WireError."""
        while start < end:
            self._steps += 1
            if self._steps > _MAX_STEPS:
                raise WireError(f"The body has more than {_MAX_STEPS} fields")
            tag, start = self._varint(start, end)
            kind = tag & 7
            if kind == _BYTES:
                size, start = self._varint(start, end)
                if size > end - start:
                    raise WireError(_BROKEN)
                yield tag >> 3, start, start + size
                start += size
            elif kind == _VARINT:
                _, start = self._varint(start, end)
            elif kind == _FIXED_64:
                start += 8
            elif kind == _FIXED_32:
                start += 4
            else:
                raise WireError(_BROKEN)
        if start != end:
            raise WireError(_BROKEN)

    def _varint(self, start: int, end: int) -> tuple[int, int]:
        value = shift = 0
        for at in range(start, min(end, start + 10)):
            byte = self._body[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at + 1
            shift += 7
        raise WireError(_BROKEN)


def named(trace_id: bytes, span_id: bytes) -> str:
    """A span by its ids, whatever they are."""
    return f"{span_id[:8].hex()} of trace {trace_id[:16].hex()}"
