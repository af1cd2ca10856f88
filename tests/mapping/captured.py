"""Records rebuilt from captured spans, as the exporter would have made them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otel_sgp_exporter._record import Phase, Record, snapshot

CAPTURES = Path(__file__).parent.parent / "data" / "captures"
NAMES = sorted(path.stem for path in CAPTURES.glob("*.json") if path.stem != "expected")
EXPECTED: dict[str, list[dict[str, Any]]] = json.loads((CAPTURES / "expected.json").read_text())


def load(name: str) -> list[dict[str, Any]]:
    """The spans of one capture, in the order in which they ended."""
    spans: list[dict[str, Any]] = json.loads((CAPTURES / f"{name}.json").read_text())["spans"]
    return spans


def ends(name: str) -> Iterator[Record]:
    """The END records of one capture, in the order in which the spans ended."""
    return (record(entry, Phase.END) for entry in load(name))


def record(entry: dict[str, Any], phase: Phase) -> Record:
    """The START or the END of a captured span, through the same snapshot that the exporter takes."""
    found = snapshot(phase, _span(entry, phase))
    assert found is not None
    return found


def _span(entry: dict[str, Any], phase: Phase) -> ReadableSpan:
    ended = phase is Phase.END
    scope = entry["scope"]
    attributes = entry["attributes"] if ended else entry["start_attributes"]
    return ReadableSpan(
        name=entry["name"] if ended else entry["start_name"],
        context=_context(entry["trace_id"], entry["span_id"], is_remote=False),
        parent=_context(entry["trace_id"], entry["parent_span_id"], is_remote=bool(entry["parent_is_remote"])),
        resource=Resource(entry["resource"]),
        attributes=_typed(attributes, entry["attribute_types"]),
        events=[
            Event(event["name"], _typed(event["attributes"], event["attribute_types"]), event["timestamp"])
            for event in entry["events"]
            if ended
        ],
        links=[
            Link(_context(link["trace_id"], link["span_id"], is_remote=False), link["attributes"])
            for link in entry["links"]
        ],
        kind=SpanKind[entry["kind"]],
        status=Status(StatusCode[entry["status"]["code"]], entry["status"]["description"]) if ended else Status(),
        start_time=entry["start_time_unix_nano"],
        end_time=entry["end_time_unix_nano"] if ended else None,
        instrumentation_scope=InstrumentationScope(
            scope["name"], scope["version"], scope["schema_url"], scope.get("attributes")
        ),
    )


def _context(trace_id: str, span_id: str | None, *, is_remote: bool) -> Any:
    if span_id is None:
        return None
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, TraceFlags(TraceFlags.SAMPLED))


def _typed(attributes: dict[str, Any], types: dict[str, str]) -> dict[str, Any]:
    return {key: _value(value, types.get(key, "")) for key, value in attributes.items()}


def _value(value: Any, kind: str) -> Any:
    if isinstance(value, dict) and value.keys() == {"__bytes__"}:
        return base64.b64decode(value["__bytes__"])
    return tuple(value) if kind.startswith("tuple") else value
