"""Which spans are exported, and what becomes of the children of those that are not."""

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import SpanKind

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, agent_spans
from otel_sgp_exporter._mapping import sgp_span_id
from support import StubServer, ended_span, upserts

Traced = Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]


def without_noise(span: ReadableSpan) -> bool:
    return not span.name.startswith("noise")


def test_a_span_that_is_left_out_leaves_neither_start_nor_end_and_its_children_move_up(
    server: StubServer, traced: Traced
) -> None:
    """Children are linked to the nearest exported ancestor, in START and END alike."""
    provider, processor = traced(server.url, span_filter=without_noise)
    tracer = provider.get_tracer("t")
    with (
        tracer.start_as_current_span("root") as root,
        tracer.start_as_current_span("noise 1"),
        tracer.start_as_current_span("noise 2"),
        tracer.start_as_current_span("leaf"),
    ):
        processor.force_flush()
    assert processor.force_flush()
    by_name: dict[str, list[dict[str, Any]]] = {}
    for item in server.items:
        by_name.setdefault(item["name"], []).append(item)
    assert set(by_name) == {"root", "leaf"}
    root_id = sgp_span_id(root.get_span_context().trace_id, root.get_span_context().span_id)
    assert [item["parent_id"] for item in by_name["leaf"]] == [root_id, root_id]
    assert set(map(tuple, upserts(server.items).values())) == {("start", "end")}


def test_below_a_root_that_is_left_out_children_become_roots(server: StubServer, traced: Traced) -> None:
    """And keep the id of the parent that is not there."""
    provider, processor = traced(server.url, span_filter=without_noise)
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("noise"), tracer.start_as_current_span("leaf"):
        pass
    assert processor.force_flush()
    assert [item["name"] for item in server.items] == ["leaf", "leaf"]
    assert all("parent_id" not in item and item["metadata"]["otel_parent_span_id"] for item in server.items)


def test_the_decision_of_the_start_sticks(server: StubServer, traced: Traced) -> None:
    """Whatever a span is called by its end, there is never a START without an END or the other way round."""
    provider, processor = traced(server.url, span_filter=without_noise)
    tracer = provider.get_tracer("t")
    renamed, hidden = tracer.start_span("kept"), tracer.start_span("noise")
    renamed.update_name("noise after all")
    hidden.update_name("kept after all")
    renamed.end()
    hidden.end()
    assert processor.force_flush()
    assert list(upserts(server.items).values()) == [["start", "end"]]


def test_a_filter_that_raises_keeps_the_span(server: StubServer, traced: Traced) -> None:
    """Its bug is not the loss of spans."""

    def broken(span: ReadableSpan) -> bool:
        raise RuntimeError("broken")

    provider, processor = traced(server.url, span_filter=broken)
    provider.get_tracer("t").start_span("span").end()
    assert processor.force_flush()
    assert len(server.items) == 2


def test_it_works_without_starts_too(server: StubServer, traced: Traced) -> None:
    """The decision is taken at the start even when no START is sent."""
    provider, processor = traced(server.url, span_filter=without_noise, start_delay_millis="off")
    provider.get_tracer("t").start_span("noise").end()
    provider.get_tracer("t").start_span("span").end()
    assert processor.force_flush()
    assert [item["name"] for item in server.items] == ["span"]


@pytest.mark.parametrize(
    ("kept", "fields"),
    [
        (True, {"name": "agent"}),
        (False, {"name": "GET", "kind": SpanKind.CLIENT, "attributes": {"http.request.method": "GET"}}),
        (True, {"name": "chat", "kind": SpanKind.CLIENT, "attributes": {"gen_ai.operation.name": "chat"}}),
        (False, {"name": "GET /healthz", "kind": SpanKind.SERVER, "attributes": {"url.path": "/healthz"}}),
        (False, {"name": "GET", "kind": SpanKind.SERVER, "attributes": {"http.target": "/api/health/?full=1"}}),
        (True, {"name": "POST /chat", "kind": SpanKind.SERVER, "attributes": {"url.path": "/chat"}}),
        (False, {"name": "GET /ping", "kind": SpanKind.SERVER}),
    ],
    ids=str,
)
def test_the_ready_made_filter_keeps_agents_and_drops_noise(kept: bool, fields: dict[str, Any]) -> None:
    """Health checks and orphan client roots go, whatever an agent made stays."""
    assert kept is agent_spans(ended_span(1, **fields))
