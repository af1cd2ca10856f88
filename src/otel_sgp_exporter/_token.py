"""A started span as JSON: what the process needs that is to end it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace import format_span_id as span_hex
from opentelemetry.trace import format_trace_id as trace_hex

from ._custody import Resumed
from ._wire import sanitised

VERSION = 1

_ORIGIN = (
    "service.namespace",
    "service.name",
    "service.version",
    "service.instance.id",
    "host.name",
    "k8s.pod.name",
    "process.pid",
)


class Event(NamedTuple):
    """An event of the span."""

    name: str
    attributes: Mapping[str, Any]
    time_ns: int


class Begun(NamedTuple):
    """A recording span as it was when it was handed off. Times in nanoseconds since the epoch."""

    name: str
    kind: SpanKind
    start_ns: int
    parent: SpanContext | None
    attributes: Mapping[str, Any]
    events: Sequence[Event]
    links: Sequence[Link]
    status: Status
    scope: InstrumentationScope
    origin: Mapping[str, Any]
    """The resource attributes that tell which process started the span."""


class Token(NamedTuple):
    """Everything that a token says."""

    context: SpanContext
    begun: Begun | None
    """None for a span that records nothing."""
    resumed: Resumed


def encoded(span: ReadableSpan | None, context: SpanContext, known: Resumed, now_ns: int) -> dict[str, Any]:
    """The token of `span`, None if it records nothing: plain JSON, whatever its attributes hold."""
    token: dict[str, Any] = {"version": VERSION, **_context(context), "trace_id": trace_hex(context.trace_id)}
    if span is None:
        return token
    scope = span.instrumentation_scope
    origin = span.resource.attributes
    token["span"] = {
        "name": span.name,
        "kind": span.kind.name,
        "start_time_unix_nano": str(
            span.start_time or now_ns
        ),  # text as in OTLP: JSON's numbers hold 53 bits elsewhere
        "parent": {**_context(span.parent), "is_remote": span.parent.is_remote} if span.parent else None,
        "attributes": _attributes(span.attributes),
        "events": [
            {"name": each.name, "time_unix_nano": str(each.timestamp), "attributes": _attributes(each.attributes)}
            for each in span.events
        ],
        "links": [
            {
                **_context(each.context),
                "trace_id": trace_hex(each.context.trace_id),
                "attributes": _attributes(each.attributes),
            }
            for each in span.links
        ],
        "status": {"code": span.status.status_code.name, "description": span.status.description},
        "scope": {
            "name": scope.name if scope else "",
            "version": scope.version if scope else None,
            "schema_url": scope.schema_url if scope else None,
            "attributes": _attributes(scope.attributes if scope else None),
        },
        "origin": _attributes({key: origin[key] for key in _ORIGIN if key in origin}),
    }
    token["sgp"] = {
        "start_until_unix_nano": str(now_ns + int(known.start_seconds * 1e9)) if known.start_seconds else None,
        "is_exported": known.is_exported,
        "ancestor": None if known.ancestor is None else span_hex(known.ancestor),
        "group_id": known.group_id,
    }
    checked: dict[str, Any] = sanitised(token)
    return checked


def _context(context: SpanContext) -> dict[str, Any]:
    return {
        "span_id": span_hex(context.span_id),
        "trace_flags": int(context.trace_flags),
        "trace_state": context.trace_state.to_header(),
    }


def _attributes(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in sanitised(dict(attributes or {})).items() if value is not None}


def decoded(token: object, now_ns: int) -> Token:
    """What `token` says. Raises ValueError that names the field, and never quotes what is in it."""
    fields = _Fields(token, "token")
    if fields.integer("version") != VERSION:
        raise ValueError(f"token.version is {fields.integer('version')}; this version of the package reads {VERSION}")
    trace_id = fields.hex("trace_id", 32)
    context = _span_context(fields, trace_id, is_remote=False)
    if not (context.is_valid or (trace_id == 0 == context.span_id)):
        raise ValueError("token.trace_id and token.span_id must both be zero, or neither")
    span, sgp = fields.below("span"), fields.below("sgp")
    if span is None or not context.is_valid:
        return Token(context, None, Resumed())
    return Token(context, _begun(span, trace_id), Resumed() if sgp is None else _resumed(sgp, now_ns))


def _begun(span: _Fields, trace_id: int) -> Begun:
    parent, status, scope = span.below("parent"), span.required("status"), span.required("scope")
    return Begun(
        span.text("name"),
        SpanKind[span.one_of("kind", SpanKind.__members__)],
        span.time("start_time_unix_nano"),
        _span_context(parent, trace_id, is_remote=parent.flag("is_remote")) if parent else None,
        span.attributes(),
        [Event(each.text("name"), each.attributes(), each.time("time_unix_nano")) for each in span.items("events")],
        [
            Link(_span_context(each, each.hex("trace_id", 32), is_remote=True), each.attributes())
            for each in span.items("links")
        ],
        Status(StatusCode[status.one_of("code", StatusCode.__members__)], status.text_or_none("description")),
        InstrumentationScope(
            scope.text("name"), scope.text_or_none("version"), scope.text_or_none("schema_url"), scope.attributes()
        ),
        span.attributes("origin"),
    )


def _resumed(sgp: _Fields, now_ns: int) -> Resumed:
    start_until = sgp.time("start_until_unix_nano") if sgp.get("start_until_unix_nano") is not None else 0
    ancestor = sgp.hex("ancestor", 16) if sgp.get("ancestor") is not None else None
    seconds = max(start_until - now_ns, 0) / 1e9
    return Resumed(seconds, sgp.flag("is_exported"), ancestor, sgp.text_or_none("group_id"))


def _span_context(fields: _Fields, trace_id: int, *, is_remote: bool) -> SpanContext:
    flags = fields.integer("trace_flags")
    if not 0 <= flags <= 0xFF:
        raise fields.wrong("trace_flags", "a number from 0 to 255")
    state = TraceState.from_header([fields.text("trace_state")])
    return SpanContext(trace_id, fields.hex("span_id", 16), is_remote, TraceFlags(flags), state)


class _Fields:
    """One object of the token. Each method reads a field or raises ValueError that names it."""

    def __init__(self, fields: object, path: str) -> None:
        if not isinstance(fields, Mapping):
            raise ValueError(f"{path} must be an object as handoff() makes it, not {type(fields).__name__}")
        self._fields = fields
        self._path = path

    def wrong(self, name: str, wanted: str) -> ValueError:
        """To be raised: the field is missing or not what it has to be."""
        what = f"is {type(self._fields[name]).__name__}" if name in self._fields else "is missing"
        return ValueError(f"{self._path}.{name} must be {wanted}; it {what}")

    def get(self, name: str) -> Any:
        return self._fields.get(name)

    def text(self, name: str) -> str:
        return str(self._checked(name, "a text", lambda value: isinstance(value, str)))

    def text_or_none(self, name: str) -> str | None:
        return None if self.get(name) is None else self.text(name)

    def flag(self, name: str) -> bool:
        return bool(self._checked(name, "true or false", lambda value: isinstance(value, bool)))

    def integer(self, name: str) -> int:
        return int(self._checked(name, "a whole number", lambda value: type(value) is int))

    def one_of(self, name: str, names: Mapping[str, Any]) -> str:
        wanted = f"one of {', '.join(names)}"
        return str(self._checked(name, wanted, lambda value: isinstance(value, str) and value in names))

    def hex(self, name: str, digits: int) -> int:
        pattern = re.compile(f"[0-9a-f]{{{digits}}}")
        return int(self._matching(name, f"{digits} small hex digits", pattern), 16)

    def time(self, name: str) -> int:
        return int(self._matching(name, "a text of digits: nanoseconds since the epoch", re.compile("[0-9]{1,19}")))

    def _matching(self, name: str, wanted: str, pattern: re.Pattern[str]) -> str:
        return str(self._checked(name, wanted, lambda value: isinstance(value, str) and bool(pattern.fullmatch(value))))

    def _checked(self, name: str, wanted: str, accept: Callable[[Any], bool]) -> Any:
        if not accept(self.get(name)):
            raise self.wrong(name, wanted)
        return self.get(name)

    def attributes(self, name: str = "attributes") -> dict[str, Any]:
        """An object of attributes."""
        value = self._checked(name, "an object", lambda value: isinstance(value, Mapping))
        return dict(value)

    def below(self, name: str) -> _Fields | None:
        """The object in that field, if there is one."""
        return None if self.get(name) is None else _Fields(self.get(name), f"{self._path}.{name}")

    def required(self, name: str) -> _Fields:
        """The object in that field."""
        return self.below(name) or _Fields(None, f"{self._path}.{name}")

    def items(self, name: str) -> list[_Fields]:
        """The objects in the list in that field."""
        values = self._checked(name, "a list", lambda value: isinstance(value, list))
        return [_Fields(value, f"{self._path}.{name}[{number}]") for number, value in enumerate(values)]
