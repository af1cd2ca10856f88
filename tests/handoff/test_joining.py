"""Baggage that puts spans into a trace which was created in SGP itself, and never a 409: the fixture looks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from opentelemetry import baggage, context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from conftest import Process, rows  # tests/handoff
from otel_sgp_exporter import _attach, handoff, resume
from otel_sgp_exporter._mapping import sgp_trace_id
from otel_sgp_exporter._propagator import SGPPropagator
from otel_sgp_exporter.devserver import DevServer

MakeProcess = Callable[..., Process]

W3C = TraceContextTextMapPropagator()
MARK = SGPPropagator(_attach.exported_id)
ALL = CompositePropagator([W3C, W3CBaggagePropagator(), MARK])
NO_BAGGAGE = CompositePropagator([W3C, MARK])


@pytest.fixture(autouse=True)
def _no_baggage() -> Iterator[None]:
    token = context.attach(Context())
    yield
    context.detach(token)


def native(sgp: DevServer) -> str:
    """A trace that somebody created natively, with a span in it."""
    item = {"name": "task", "id": "task-span", "trace_id": "task-42", "start_timestamp": "2026-11-20T10:00:00+00:00"}
    headers = {"x-api-key": "key-for-tests", "x-selected-account-id": "account-for-tests"}
    httpx.put(f"{sgp.url}/v5/spans/batch", json={"items": [item]}, headers=headers).raise_for_status()
    return "task-42"


@pytest.fixture
def task(sgp: DevServer) -> str:
    return native(sgp)


def joining(trace_id: str, parent_id: str | None = None, within: Context | None = None) -> Context:
    there = baggage.remove_baggage("sgp.parent_id", baggage.set_baggage("sgp.trace_id", trace_id, within))
    return there if parent_id is None else baggage.set_baggage("sgp.parent_id", parent_id, there)


def crossing(propagator: CompositePropagator, within: Context) -> Context:
    """What the callee of a request finds."""
    carrier: dict[str, str] = {}
    propagator.inject(carrier, within)
    return propagator.extract(carrier, Context())


def below(span: trace.Span, within: Context | None = None) -> Context:
    return trace.set_span_in_context(span, within)


def places(sgp: DevServer) -> dict[str, tuple[str, str | None]]:
    """By name, the trace of each span and the name of its parent."""
    found = rows(sgp)
    names = {row["id"]: name for name, row in found.items()}
    return {name: (row["trace_id"], names.get(row["parent_id"], row["parent_id"])) for name, row in found.items()}


def test_spans_join_the_trace_and_hang_below_the_span_that_baggage_names(
    sgp: DevServer, process: MakeProcess, task: str
) -> None:
    """Children follow with baggage and without; the W3C ids stay what they were, and are in the row."""
    one = process()
    there = baggage.set_baggage("sgp.group_id", "conversation 7", joining(task, "task-span"))
    root = one.tracer.start_span("root", there)
    one.tracer.start_span("child", below(root, there)).end()
    one.tracer.start_span("child without baggage", below(root)).end()
    root.end()
    one.tracer.start_span("stranger").end()
    one.flush()
    found = places(sgp)
    assert found["root"] == (task, "task")
    assert found["child"] == found["child without baggage"] == (task, "root")
    assert found["stranger"][0] != task
    row = rows(sgp)["root"]
    assert row["group_id"] == rows(sgp)["child"]["group_id"] == "conversation 7"
    assert row["metadata"]["obs_trace_id"] == trace.format_trace_id(root.get_span_context().trace_id)
    assert "attributes" not in row["metadata"]
    (arrival,) = sgp.stats(row["id"])["spans"]
    assert (arrival["starts"], arrival["ends"]) == (1, 1)


def test_without_a_parent_the_span_is_a_root_of_the_trace(sgp: DevServer, process: MakeProcess, task: str) -> None:
    one = process()
    one.tracer.start_span("root", joining(task)).end()
    one.flush()
    assert places(sgp)["root"] == (task, None)


def test_a_parent_that_is_in_another_trace_is_dropped(sgp: DevServer, process: MakeProcess, task: str) -> None:
    """Baggage that is set in the middle: its span leaves the trace, and notes what the W3C parent was."""
    one = process()
    outside = one.tracer.start_span("outside")
    inside = one.tracer.start_span("inside", below(outside, joining(task)))
    elsewhere = one.tracer.start_span("elsewhere", below(inside, joining("task-43", "nobody-knows")))
    back = sgp_trace_id(outside.get_span_context().trace_id)
    one.tracer.start_span("back", below(inside, joining(back))).end()
    for span in (elsewhere, inside, outside):
        span.end()
    one.flush()
    found = places(sgp)
    assert found == {
        "task": (task, None),
        "outside": (back, None),
        "inside": (task, None),
        "elsewhere": ("task-43", "nobody-knows"),
        "back": (back, None),
    }
    noted = rows(sgp)["inside"]["metadata"]["otel_parent_span_id"]
    assert noted == trace.format_span_id(outside.get_span_context().span_id)


def test_what_stands_above_a_span_that_is_left_out_stays_above(sgp: DevServer, process: MakeProcess, task: str) -> None:
    """Also when that is the native span, which has no W3C id."""
    one = process(span_filter=lambda span: not span.name.startswith("noise"))
    outside = one.tracer.start_span("outside")
    noise = one.tracer.start_span("noise", below(outside, joining(task, "task-span")))
    more = one.tracer.start_span("noise too", below(noise))
    inside = one.tracer.start_span("inside", below(more))
    one.tracer.start_span("child", below(inside)).end()
    for span in (inside, more, noise, outside):
        span.end()
    one.flush()
    found = places(sgp)
    assert (found["inside"], found["child"]) == ((task, "task"), (task, "inside"))


def test_a_caller_that_is_left_out_names_no_span_of_another_trace(
    sgp: DevServer, process: MakeProcess, task: str
) -> None:
    """Above it stands the native span, which no mark can name: the callee hangs below it by baggage."""
    one, two = process("one", span_filter=lambda span: span.name != "caller"), process("two")
    outside = one.tracer.start_span("outside")
    there = joining(task, "task-span")
    caller = one.tracer.start_span("caller", below(outside, there))
    two.tracer.start_span("callee", crossing(ALL, below(caller, there))).end()
    for span in (caller, outside):
        span.end()
    one.flush()
    two.flush()
    assert places(sgp)["callee"] == (task, "task")


@pytest.mark.parametrize("both_join", [True, False])
def test_across_services_the_callee_hangs_below_its_caller(
    sgp: DevServer, process: MakeProcess, task: str, both_join: bool
) -> None:
    """The mark says in which trace of SGP the caller is; where baggage is not passed on, the callee is a root."""
    one, two = process("one"), process("two")
    there = joining(task, "task-span")
    caller = one.tracer.start_span("caller", there)
    arrived = crossing(ALL if both_join else NO_BAGGAGE, below(caller, there))
    two.tracer.start_span("callee", arrived).end()
    caller.end()
    one.flush()
    two.flush()
    own = sgp_trace_id(caller.get_span_context().trace_id)
    assert places(sgp)["callee"] == ((task, "caller") if both_join else (own, None))


def test_across_services_a_caller_outside_is_not_linked(sgp: DevServer, process: MakeProcess, task: str) -> None:
    """The baggage was set below its span: the callee hangs below the native span instead."""
    one, two = process("one"), process("two")
    caller = one.tracer.start_span("caller")
    arrived = crossing(ALL, below(caller, joining(task, "task-span")))
    two.tracer.start_span("callee", arrived).end()
    caller.end()
    one.flush()
    two.flush()
    assert places(sgp)["callee"] == (task, "task")


def test_a_span_that_is_handed_over_stays_where_it_was(sgp: DevServer, process: MakeProcess, task: str) -> None:
    """And its children in the other process are there, too; so are those in services that they call."""
    one, two, three = process("one"), process("two"), process("three")
    token = handoff(one.tracer.start_span("span", joining(task, "task-span")))
    with resume(token, tracer_provider=two.provider):
        with two.tracer.start_as_current_span("child"):
            arrived = crossing(ALL, context.get_current())
        three.tracer.start_span("grandchild", arrived).end()
    for each in (one, two, three):
        each.flush()
    found = places(sgp)
    assert [found[name] for name in ("span", "child", "grandchild")] == [
        (task, "task"),
        (task, "span"),
        (task, "child"),
    ]


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"sgp.parent_id": "task-span"}, "sgp.parent_id is ignored: it means nothing without sgp.trace_id"),
        ({"sgp.trace_id": "x" * 257}, "The baggage sgp.trace_id is ignored: it is no id that SGP takes"),
        ({"sgp.trace_id": ""}, "The baggage sgp.trace_id is ignored: it is no id that SGP takes"),
        ({"sgp.trace_id": 7}, "The baggage sgp.trace_id is ignored: it is no id that SGP takes"),
        ({"sgp.group_id": "a\0b"}, "The baggage sgp.group_id is ignored: it is no id that SGP takes"),
    ],
    ids=str,
)
def test_baggage_that_makes_no_sense_is_named_once_and_passed_over(
    sgp: DevServer, process: MakeProcess, caplog: pytest.LogCaptureFixture, entries: dict[str, Any], complaint: str
) -> None:
    """It comes from outside, and must not cost a span."""
    one = process()
    there = Context()
    for name, value in entries.items():
        there = baggage.set_baggage(name, value, there)
    for number in range(2):
        span = one.tracer.start_span(f"span {number}", there)
        span.end()
        assert sgp_trace_id(span.get_span_context().trace_id)
    one.flush()
    assert {row["group_id"] for row in rows(sgp).values()} == {None}
    assert len({trace_id for trace_id, _ in places(sgp).values()}) == 2
    assert caplog.messages == [complaint]


class Step(NamedTuple):
    """How one more span begins."""

    above: int
    """Which of the spans before it is its parent; none when there are fewer."""
    joins: str | None
    crosses: CompositePropagator | None
    keeps_baggage: bool
    name: str


STEPS = st.builds(
    Step,
    st.integers(0, 8),
    st.sampled_from([None, None, "task-42", "task-43", "own"]),
    st.sampled_from([None, None, ALL, NO_BAGGAGE]),
    st.booleans(),
    st.sampled_from(["span", "noise"]),
)


def begin(step: Step, before: list[tuple[trace.Span, Context, int]], services: list[Process]) -> None:
    """Start the span, in this service or the other."""
    there, service, own = Context(), 0, None
    if step.above < len(before):
        span, around, service = before[step.above]
        there, own = below(span, around if step.keeps_baggage else None), span.get_span_context().trace_id
    if step.joins == "own" and own is not None:
        there = joining(sgp_trace_id(own), None, there)
    elif step.joins not in (None, "own"):
        there = joining(step.joins, "task-span" if step.joins == "task-42" else None, there)
    if step.crosses is not None:
        there, service = crossing(step.crosses, there), 1 - service
    span = services[service].tracer.start_span(f"{step.name} {len(before)}", there)
    before.append((span, there, service))


@given(steps=st.lists(STEPS, min_size=1, max_size=8), order=st.permutations(range(8)))
@profile(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_joined_wherever_no_parent_is_in_another_trace(
    sgp: DevServer, process: MakeProcess, steps: list[Step], order: list[int]
) -> None:
    """Spans of two services in any tree, with baggage set, lost and changed anywhere, some of them left out."""
    sgp.clear()  # Hypothesis has the same random ids come again
    native(sgp)
    services = [process(name, span_filter=lambda span: "noise" not in span.name) for name in ("one", "two")]
    begun: list[tuple[trace.Span, Context, int]] = []
    for step in steps:
        begin(step, begun, services)
    for number in order:
        if number < len(begun):
            begun[number][0].end()
    for each in services:
        each.flush()
        each.provider.shutdown()
    assert 409 not in sgp.stats()["statuses"]
    spans = sgp.spans()
    traces = {span["id"]: span["trace_id"] for span in spans}
    for span in spans:
        assert span["parent_id"] is None or traces.get(span["parent_id"], span["trace_id"]) == span["trace_id"]
        assert span["end_timestamp"] or span["name"] == "task"
