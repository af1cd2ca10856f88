"""The members of an item that every span has: ids, times, place, status, name, metadata."""

from __future__ import annotations

from typing import Any

import pytest
from made import PARENT_ID, SPAN_ID, START_NS, TRACE_ID, context, end, item, start
from opentelemetry.sdk.trace import Event, TracerProvider
from opentelemetry.sdk.trace import SpanLimits as Limits
from opentelemetry.trace import Link, Status, StatusCode, TraceState

from otel_sgp_exporter._mapping import MappingOptions, sgp_span_id, sgp_trace_id, timestamp, to_item
from otel_sgp_exporter._record import Phase, snapshot

ERROR = Status(StatusCode.ERROR, "it broke")


def exception(kind: str, message: str, **more: str) -> Event:
    return Event("exception", {"exception.type": kind, "exception.message": message, **more}, START_NS)


def remote(**tracestate: str) -> Any:
    return context(PARENT_ID, is_remote=True, trace_state=TraceState(list(tracestate.items())))


def test_ids_are_the_w3c_ids_in_dashes() -> None:
    assert sgp_trace_id(TRACE_ID) == "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
    assert sgp_span_id(TRACE_ID, SPAN_ID) == "a3ce929d-0e0e-4736-00f0-67aa0ba902b7"


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000+00:00"),
        (START_NS, "2026-11-20T21:11:33.406772+00:00"),
        (-1, "1969-12-31T23:59:59.999999+00:00"),
        (10**30, "9999-12-31T23:59:59.999999+00:00"),
        (-(10**30), "0001-01-01T00:00:00.000000+00:00"),
    ],
)
def test_times_are_floored_to_microseconds_and_never_out_of_the_calendar(ns: int, expected: str) -> None:
    assert timestamp(ns) == expected


def test_an_end_before_its_start_is_moved_to_it_and_noted() -> None:
    mapped = item(end_time=START_NS - 500)
    assert mapped["end_timestamp"] == mapped["start_timestamp"]
    assert mapped["metadata"]["end_before_start_ns"] == 500


def test_a_start_says_nothing_of_its_end() -> None:
    mapped = to_item(start({"plan": "pro"}, status=ERROR, events=[exception("E", "m")]))
    assert {"end_timestamp", "input", "output"}.isdisjoint(mapped)
    assert mapped["status"] == "SUCCESS"
    assert "events" not in mapped["metadata"]


def test_an_end_carries_empty_members_so_that_it_replaces_what_the_start_said() -> None:
    mapped = item()
    assert (mapped["input"], mapped["output"]) == ({}, {})


def test_metadata_tells_where_the_span_came_from_under_keys_without_dots() -> None:
    metadata = item({"plan": "pro"}, links=[Link(context(7), {"why": "retry"})])["metadata"]
    assert metadata == {
        "__source__": "otel",
        "obs_trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "obs_span_id": "00f067aa0ba902b7",
        "otel_kind": "INTERNAL",
        "otel_scope": "tests.scope",
        "otel_scope_version": "1.0",
        "service_name": "tests",
        "resource": {"service.name": "tests"},
        "links": [
            {
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                "span_id": "0000000000000007",
                "attributes": {"why": "retry"},
            }
        ],
        "attributes": {"plan": "pro"},
    }


@pytest.mark.parametrize(
    ("attributes", "event", "expected"),
    [
        ({"gen_ai.response.time_to_first_chunk": 0.25}, "", 250.0),
        ({"gen_ai.client.operation.time_to_first_chunk": 0.25}, "", 250.0),
        ({}, "First Token Stream Event", 1.5),
        ({}, "gen_ai.content.completion.chunk", 1.5),
        ({}, "llm.content.completion.chunk", 1.5),
    ],
)
def test_time_to_first_token_is_kept_and_the_chunks_are_not(attributes: Any, event: str, expected: float) -> None:
    events = [Event(event, {}, START_NS + 1_500_000), Event(event, {}, START_NS + 9_500_000)] if event else []
    metadata = item(attributes, events=events)["metadata"]
    assert metadata["time_to_first_token_ms"] == expected
    assert "events" not in metadata


def test_what_the_sdk_dropped_is_counted() -> None:
    limits = Limits(max_span_attributes=1, max_events=1, max_links=1)
    tracer = TracerProvider(span_limits=limits, shutdown_on_exit=False).get_tracer("tests")
    span = tracer.start_span("work", links=[Link(context(1)), Link(context(2))], attributes={"a": 1, "b": 2})
    span.add_event("one")
    span.add_event("two")
    span.end()
    ended = snapshot(Phase.END, span)  # type: ignore[arg-type]
    assert ended is not None
    metadata = to_item(ended)["metadata"]
    assert [metadata[f"dropped_{part}"] for part in ("attributes", "events", "links")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("tracestate", "choice", "linked"),
    [
        ({}, "auto", False),
        ({"sgp": "1"}, "auto", True),
        ({}, "link", True),
        ({"sgp": "1"}, "root", False),
    ],
)
def test_a_remote_parent_is_linked_only_when_it_is_known_to_be_in_sgp(
    tracestate: dict[str, str], choice: Any, linked: bool
) -> None:
    mapped = to_item(end(parent=remote(**tracestate)), MappingOptions(remote_parent=choice))
    assert mapped.get("parent_id") == (sgp_span_id(TRACE_ID, PARENT_ID) if linked else None)
    assert mapped["metadata"].get("otel_parent_span_id") == (None if linked else "1122334455667788")
    assert mapped["type"] == "STANDALONE"


def test_a_local_parent_is_always_linked() -> None:
    mapped = to_item(end(parent=context(PARENT_ID)), MappingOptions(remote_parent="root"))
    assert mapped["parent_id"] == sgp_span_id(TRACE_ID, PARENT_ID)


@pytest.mark.parametrize(("ancestor", "linked"), [(0, None), (99, sgp_span_id(TRACE_ID, 99))])
def test_a_parent_that_is_not_exported_is_replaced_by_the_nearest_ancestor_that_is(
    ancestor: int, linked: str | None
) -> None:
    mapped = to_item(end(parent=context(PARENT_ID)), parent_span_id=ancestor)
    assert mapped.get("parent_id") == linked
    assert mapped["metadata"]["otel_parent_span_id"] == "1122334455667788"


@pytest.mark.parametrize("parent", [context(SPAN_ID), context(PARENT_ID, trace_id=5)])
def test_a_parent_that_sgp_would_refuse_is_left_out(parent: Any) -> None:
    assert "parent_id" not in item(parent=parent)


@pytest.mark.parametrize(
    ("attributes", "events", "status", "expected"),
    [
        ({}, [], ERROR, ("ERROR", "Error", "it broke")),
        ({}, [exception("app.errors.Bad", "no")], ERROR, ("ERROR", "Bad", "no")),
        ({"error.type": "Timeout"}, [], ERROR, ("ERROR", "Timeout", "it broke")),
        ({"error.type": "_OTHER"}, [], ERROR, ("ERROR", "Error", "it broke")),
        ({"http.response.status_code": 503}, [], Status(StatusCode.ERROR), ("ERROR", "503", "HTTP 503")),
        ({}, [exception("Exception", "KeyError('k')Traceback (most")], ERROR, ("ERROR", "KeyError", "k")),
        ({}, [], Status(StatusCode.ERROR, 'ValueError("x")Traceback ...'), ("ERROR", "ValueError", "x")),
        ({}, [exception("asyncio.CancelledError", "")], ERROR, ("CANCELED", "CancelledError", "it broke")),
        ({"error.type": "cancelled"}, [], ERROR, ("CANCELED", "cancelled", "it broke")),
        (
            {},
            [exception("GeneratorExit", "bye", **{"exception.escaped": "True"})],
            Status(),
            ("CANCELED", "GeneratorExit", "bye"),
        ),
        ({}, [exception("ValueError", "handled")], Status(), ("SUCCESS", None, None)),
        ({}, [exception("ValueError", "handled")], Status(StatusCode.OK), ("SUCCESS", None, None)),
    ],
)
def test_status_and_error(attributes: Any, events: Any, status: Status, expected: Any) -> None:
    mapped = item(attributes, events=events, status=status)
    metadata = mapped["metadata"]
    assert (mapped["status"], metadata.get("error_type"), metadata.get("error_message")) == expected
    assert metadata.get("error") is (True if mapped["status"] == "ERROR" else None)


def test_a_span_without_a_name_gets_one() -> None:
    assert item(name="")["name"] == "unnamed"


def test_values_of_the_wrong_kind_decide_nothing() -> None:
    odd = {"error.type": ["cancelled"], "gen_ai.operation.name": {"a": 1}, "gen_ai.usage.input_tokens": 3}
    mapped = item({**odd, "gen_ai.request.model": "m"}, status=Status(StatusCode.ERROR))
    assert (mapped["status"], mapped["type"], mapped["output"]["usage"]) == ("ERROR", "COMPLETION", {"input_tokens": 3})
