"""Records of spans made up for one test."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from otel_sgp_exporter._mapping import to_item
from otel_sgp_exporter._record import Phase, Record

TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736
SPAN_ID = 0x00F067AA0BA902B7
PARENT_ID = 0x1122334455667788
START_NS = 1_795_209_093_406_772_999


def context(span_id: int, trace_id: int = TRACE_ID, **details: Any) -> SpanContext:
    details.setdefault("is_remote", False)
    return SpanContext(trace_id, span_id, trace_flags=TraceFlags(TraceFlags.SAMPLED), **details)


def span(attributes: Any = None, *, span_id: int = SPAN_ID, **details: Any) -> ReadableSpan:
    """A finished root span of 1.5 ms, unless told otherwise; attributes are taken as they are."""
    details = {
        "name": "work",
        "context": context(span_id),
        "resource": Resource({"service.name": "tests"}),
        "instrumentation_scope": InstrumentationScope("tests.scope", "1.0"),
        "kind": SpanKind.INTERNAL,
        "start_time": START_NS,
        "end_time": START_NS + 1_500_000,
        **details,
    }
    return ReadableSpan(attributes=attributes or {}, **details)


def record(phase: Phase, attributes: Any = None, **details: Any) -> Record:
    made = span(attributes, **details)
    assert made.context is not None
    return Record(phase, (made.context.trace_id, made.context.span_id), made)


def start(attributes: Any = None, **details: Any) -> Record:
    return record(Phase.START, attributes, **{"end_time": None, **details})


def end(attributes: Any = None, **details: Any) -> Record:
    return record(Phase.END, attributes, **details)


def item(attributes: Any = None, **details: Any) -> dict[str, Any]:
    """The item of a finished span with these attributes."""
    return to_item(end(attributes, **details))
