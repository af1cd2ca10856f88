"""The mark of another process's propagator names the span to link, which need not be the parent."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from otel_sgp_exporter._mapping import MappingOptions, sgp_span_id, to_item
from otel_sgp_exporter._record import Phase, Record

TRACE, PARENT, ANCESTOR = 0xA1, 0xB2, 0xC3


@pytest.mark.parametrize(
    ("mark", "remote_parent", "linked"),
    [
        (None, "auto", None),
        (None, "link", PARENT),
        (f"{PARENT:016x}", "auto", PARENT),
        (f"{ANCESTOR:016x}", "auto", ANCESTOR),
        (f"{ANCESTOR:016x}", "link", ANCESTOR),
        (f"{ANCESTOR:016x}", "root", None),
        ("1", "auto", PARENT),
    ],
)
def test_a_remote_parent_is_linked_as_its_mark_says(mark: str | None, remote_parent: str, linked: int | None) -> None:
    """No tree of two exporting services is cut, and nothing hangs below a span that SGP does not have."""
    state = TraceState([("sgp", mark)] if mark else [])
    parent = SpanContext(TRACE, PARENT, is_remote=True, trace_state=state)
    context = SpanContext(TRACE, 0xD4, is_remote=False, trace_flags=TraceFlags(1))
    span = ReadableSpan("served", context, parent=parent, start_time=1, end_time=2)
    options = MappingOptions(remote_parent=remote_parent)  # type: ignore[arg-type]
    item = to_item(Record(Phase.END, (TRACE, 0xD4), span), options)
    assert item.get("parent_id") == (sgp_span_id(TRACE, linked) if linked else None)
    assert item["metadata"].get("otel_parent_span_id") == (None if linked == PARENT else f"{PARENT:016x}")
