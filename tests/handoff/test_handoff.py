"""handoff() and resume(): one span, two processes, one row."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from conftest import Process, rows  # tests/handoff
from faults import Exchange, FaultProxy
from otel_sgp_exporter import _attach, agent_spans, handoff, resume
from otel_sgp_exporter._joined import GROUP
from otel_sgp_exporter._mapping import sgp_span_id
from otel_sgp_exporter.devserver import DevServer
from support import wait_until

MakeProcess = Callable[..., Process]


def through_json(token: dict[str, Any]) -> dict[str, Any]:
    """As it comes out of a queue."""
    copied: dict[str, Any] = json.loads(json.dumps(token, allow_nan=False))
    return copied


def id_of(span: trace.Span) -> str:
    where = span.get_span_context()
    return sgp_span_id(where.trace_id, where.span_id)


def test_a_span_starts_in_one_process_and_ends_in_another(sgp: DevServer, process: MakeProcess) -> None:
    """One row: running until the second process ends it, then complete, with what both have said."""
    one, two = process("one"), process("two")
    with one.tracer.start_as_current_span("request") as request:
        span = one.tracer.start_span("approval", attributes={"asked": "Ada"})
    token = through_json(handoff(span))
    one.flush()
    assert rows(sgp)["approval"]["end_timestamp"] is None
    with resume(token, tracer_provider=two.provider) as resumed:
        resumed.set_attribute("sgp.output", "approved")
        with two.tracer.start_as_current_span("pay out"):
            pass
    two.flush()
    found = rows(sgp)
    approval, pay_out = found["approval"], found["pay out"]
    assert (approval["id"], approval["parent_id"]) == (id_of(span), id_of(request))
    assert pay_out["parent_id"] == approval["id"]
    assert approval["start_timestamp"] <= found["request"]["end_timestamp"] <= pay_out["end_timestamp"]
    assert pay_out["end_timestamp"] <= approval["end_timestamp"]
    assert (approval["status"], approval["output"]) == ("SUCCESS", {"output": "approved"})
    assert approval["metadata"]["attributes"] == {"asked": "Ada"}
    assert approval["metadata"]["service_name"] == "two"
    assert approval["metadata"]["started_in"] == {"service.name": "one"}
    (arrival,) = sgp.stats(approval["id"])["spans"]
    assert (arrival["starts"], arrival["ends"]) == (1, 1)


def test_the_span_is_the_same_to_every_processor_of_the_provider(process: MakeProcess) -> None:
    """A recording span of the SDK, ids, flags, state, parent, times, kind, events, links and scope as they were."""
    one, two = process("one"), process("two")
    state = TraceState([("vendor", "x"), ("sgp", "00000000000000ab")])
    parent = SpanContext(0xA, 0xAB, is_remote=True, trace_flags=TraceFlags(3), trace_state=state)
    link = Link(SpanContext(0xC, 0xD, is_remote=True, trace_state=state), {"why": "cause"})
    span = one.provider.get_tracer("scope", "1", "https://schema", {"a": 1}).start_span(
        "first name",
        trace.set_span_in_context(NonRecordingSpan(parent)),
        SpanKind.CONSUMER,
        {"text": "é", "many": [1, 2], "flag": True},
        [link],
        1_700_000_000_123_456_789,
    )
    span.update_name("name")
    span.add_event("asked", {"whom": "Ada"}, 1_700_000_001_000_000_000)
    with resume(through_json(handoff(span)), tracer_provider=two.provider) as resumed:
        assert trace.get_current_span() is resumed
        assert resumed.is_recording()
    span.end()
    (mine,) = one.beside.get_finished_spans()
    (theirs,) = two.beside.get_finished_spans()

    def told(of: ReadableSpan) -> list[Any]:
        events = [(event.name, event.timestamp, dict(event.attributes or {})) for event in of.events]
        links = [(each.context, dict(each.attributes or {})) for each in of.links]
        return [of.name, of.context, of.parent, of.kind, of.start_time, of.instrumentation_scope, events, links]

    assert told(theirs) == told(mine)
    attributes = dict(theirs.attributes or {})
    assert attributes.pop("sgp.metadata.started_in") == '{"service.name": "one"}'
    assert attributes == mine.attributes


def test_a_span_that_was_handed_off_is_not_closed_at_shutdown(sgp: DevServer, process: MakeProcess) -> None:
    """Neither when SGP had its START by then nor when the START is delivered afterwards; others are."""
    one = process("one")
    early, late, left = (one.tracer.start_span(name) for name in ("early", "late", "left"))
    one.flush()
    assert len(one.state.open_spans) == 3
    handoff(early)
    assert len(one.state.open_spans) == 2
    handoff(late)
    later = one.tracer.start_span("later")
    handoff(later)
    one.provider.shutdown()
    found = rows(sgp)
    assert {name for name, row in found.items() if row["end_timestamp"]} == {"left"}
    assert left.is_recording()
    assert len(one.state.open_spans) == len(one.state.handed_off) == 0


def test_it_may_be_ended_here_nevertheless(sgp: DevServer, process: MakeProcess) -> None:
    """An END is an END."""
    one = process("one")
    span = one.tracer.start_span("span")
    handoff(span)
    span.end()
    one.flush()
    assert rows(sgp)["span"]["end_timestamp"]


def test_resumed_twice_the_last_end_stays(sgp: DevServer, process: MakeProcess) -> None:
    """An attempt that failed, and one that did not: two ENDs of one row, and never a START."""
    one, two = process("one"), process("two")
    token = through_json(handoff(one.tracer.start_span("attempted")))
    one.flush()
    with pytest.raises(OSError, match="first"), resume(token, tracer_provider=two.provider):
        raise OSError("first attempt")
    two.flush()
    failed = rows(sgp)["attempted"]
    assert (failed["status"], failed["metadata"]["error_type"]) == ("ERROR", "OSError")
    with resume(token, tracer_provider=two.provider):
        assert rows(sgp)["attempted"]["end_timestamp"] == failed["end_timestamp"]
    two.flush()
    row = rows(sgp)["attempted"]
    assert (row["status"], row["start_timestamp"]) == ("SUCCESS", failed["start_timestamp"])
    (arrival,) = sgp.stats(row["id"])["spans"]
    assert (arrival["starts"], arrival["ends"]) == (1, 2)


class _RecordOnly(Sampler):
    def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "RecordOnly"


@pytest.mark.parametrize("sampler", ["off", "record only"])
def test_an_unsampled_span_resumes_unsampled(sgp: DevServer, process: MakeProcess, sampler: str) -> None:
    """And its children with it: nothing reaches SGP, though both sides of the code run."""
    one, two = process("one", sampler=ALWAYS_OFF if sampler == "off" else _RecordOnly()), process("two")
    span = one.tracer.start_span("span", attributes={"a": 1})
    with resume(through_json(handoff(span)), tracer_provider=two.provider) as resumed:
        assert resumed.get_span_context() == span.get_span_context()
        assert resumed.is_recording() is span.is_recording()
        two.tracer.start_span("child").end()
    two.flush()
    assert sgp.spans() == []


def test_without_tracing_both_sides_run(caplog: pytest.LogCaptureFixture) -> None:
    """A program whose tracing is switched off, here or there, is none the worse."""
    token = through_json(handoff(trace.INVALID_SPAN))
    with resume(token) as resumed:
        assert resumed.get_span_context() == trace.INVALID_SPAN_CONTEXT
    assert caplog.text == ""


def test_a_provider_without_the_sdk_s_tracer_is_named_once(
    process: MakeProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The span's context is current all the same."""
    monkeypatch.setattr(_attach, "_said", set())
    token = handoff(process().tracer.start_span("span"))
    for _ in range(2):
        with resume(token, tracer_provider=trace.NoOpTracerProvider()) as resumed:
            assert trace.get_current_span() is resumed
            assert not resumed.is_recording()
    assert caplog.messages == ["A resumed span is not recorded: NoOpTracerProvider has no tracer of the SDK"]


def test_temporal_s_own_provider_is_one_like_any_other(sgp: DevServer, process: MakeProcess) -> None:
    """It wraps the SDK's tracers, and its spans are no spans of the SDK."""
    temporal = pytest.importorskip("temporalio.contrib.opentelemetry", reason="needs the dev extra")
    providers = []
    for each in (process("one"), process("two")):
        providers.append(temporal.create_tracer_provider(shutdown_on_exit=False))
        providers[-1].add_span_processor(each.processor)
    span = providers[0].get_tracer("expenses").start_span("span", attributes={"a": 1})
    token = through_json(handoff(span))
    providers[0].force_flush()
    with resume(token, tracer_provider=providers[1]) as resumed:
        assert resumed.get_span_context() == span.get_span_context()
    providers[1].force_flush()
    assert rows(sgp)["span"]["metadata"]["attributes"] == {"a": 1}
    assert rows(sgp)["span"]["end_timestamp"]


def test_an_ended_span_is_refused(process: MakeProcess) -> None:
    """There is nothing to hand off."""
    span = process().tracer.start_span("span")
    span.end()
    with pytest.raises(ValueError, match="a span that has ended cannot be handed off"):
        handoff(span)


def test_spans_are_resumed_side_by_side_in_one_event_loop(sgp: DevServer, process: MakeProcess) -> None:
    """Each task has its own current span, across awaits and in the tasks and threads that it starts."""
    one, two = process("one"), process("two")
    tokens = [handoff(one.tracer.start_span(f"span {number}")) for number in range(20)]
    one.flush()

    async def finish(number: int) -> None:
        with resume(tokens[number], tracer_provider=two.provider):
            await asyncio.sleep(0)
            await asyncio.to_thread(two.tracer.start_span(f"child {number}").end)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(finish(number) for number in range(20)))

    asyncio.run(main())
    two.flush()
    found = rows(sgp)
    for number in range(20):
        assert found[f"child {number}"]["parent_id"] == found[f"span {number}"]["id"]
        assert found[f"span {number}"]["end_timestamp"]


def test_a_cancelled_task_ends_its_span_as_canceled(sgp: DevServer, process: MakeProcess) -> None:
    """A cancelled activity did not succeed."""
    one, two = process("one"), process("two")
    token = handoff(one.tracer.start_span("span"))
    one.flush()

    async def main() -> None:
        async def work() -> None:
            with resume(token, tracer_provider=two.provider):
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    two.flush()
    assert rows(sgp)["span"]["status"] == "CANCELED"


def test_errors_are_recorded_as_start_as_current_span_does_unless_told_otherwise(process: MakeProcess) -> None:
    """The same two switches."""
    one, two = process("one"), process("two")
    token = handoff(one.tracer.start_span("span"))
    with pytest.raises(ZeroDivisionError), resume(token, tracer_provider=two.provider):
        raise ZeroDivisionError
    with (
        pytest.raises(ZeroDivisionError),
        resume(token, tracer_provider=two.provider, record_exception=False, set_status_on_exception=False),
    ):
        raise ZeroDivisionError
    first, second = two.beside.get_finished_spans()
    assert (first.status.status_code, len(first.events)) == (StatusCode.ERROR, 1)
    assert (second.status.status_code, len(second.events)) == (StatusCode.UNSET, 0)


def test_a_span_travels_on(sgp: DevServer, process: MakeProcess) -> None:
    """Handed off inside the block, it is not ended by it; the process that ended it has what all have said."""
    one, two, three = process("one"), process("two"), process("three")
    token = handoff(one.tracer.start_span("span", attributes={"one": 1}))
    one.flush()
    with resume(token, tracer_provider=two.provider) as span:
        span.set_attribute("two", 2)
        token = through_json(handoff(span))
    assert two.beside.get_finished_spans() == ()
    with resume(token, tracer_provider=three.provider) as span:
        span.set_attribute("three", 3)
    three.flush()
    metadata = rows(sgp)["span"]["metadata"]
    assert metadata["attributes"] == {"one": 1, "two": 2, "three": 3}
    assert (metadata["started_in"], metadata["service_name"]) == ({"service.name": "one"}, "three")


def test_a_span_may_come_back(sgp: DevServer, process: MakeProcess) -> None:
    """Resumed where it was handed off, it ends once; left open, it is still for whoever has the token."""
    one = process("one")
    with resume(handoff(one.tracer.start_span("ended")), tracer_provider=one.provider):
        pass
    with resume(handoff(one.tracer.start_span("left")), tracer_provider=one.provider, end_on_exit=False):
        pass
    one.flush()
    one.provider.shutdown()
    found = rows(sgp)
    assert {name for name, row in found.items() if row["end_timestamp"]} == {"ended"}
    (arrival,) = sgp.stats(found["ended"]["id"])["spans"]
    assert (arrival["starts"], arrival["ends"]) == (1, 1)


def test_it_is_left_open_when_told_to(process: MakeProcess) -> None:
    """For an attempt that will be made again."""
    one, two = process("one"), process("two")
    token = handoff(one.tracer.start_span("span"))
    with resume(token, tracer_provider=two.provider, end_on_exit=False) as span:
        pass
    assert span.is_recording()
    with resume(token, tracer_provider=two.provider) as span:
        span.end()  # and by hand, without a warning
    assert len(two.beside.get_finished_spans()) == 1


def test_attributes_that_json_cannot_hold_are_carried_as_text(process: MakeProcess) -> None:
    """The token is JSON whatever the span holds."""
    one, two = process("one"), process("two")
    span = one.tracer.start_span(
        "span", attributes={"bytes": b"abc", "nan": float("nan"), "big": 2**70, "odd": "\ud800", "list": (1.5, 2.5)}
    )
    with resume(through_json(handoff(span)), tracer_provider=two.provider) as resumed:
        attributes = dict(getattr(resumed, "attributes", {}))
    attributes.pop("sgp.metadata.started_in")
    assert attributes == {"bytes": "abc", "big": str(2**70), "odd": "�", "list": (1.5, 2.5)}


def test_a_start_that_waits_for_its_delay_goes_at_once(sgp: DevServer, process: MakeProcess) -> None:
    """A span that somebody else will end stays open for longer than any delay."""
    one = process("one", start_delay_millis=600_000)
    handoff(one.tracer.start_span("span"))
    wait_until(lambda: bool(sgp.spans()))


def test_a_process_that_leaves_at_once_still_has_the_last_word(sgp: DevServer, process: MakeProcess) -> None:
    """It waits a second with its END's repetition: the START of the other is on its way."""
    end_is_there = threading.Event()

    def held_up(exchange: Exchange) -> None:
        exchange.body()
        end_is_there.wait(10)
        exchange.answer(exchange.forward())

    with FaultProxy(sgp.url, [held_up]) as proxy:
        one, two = process("one", url=proxy.url), process("two")
        token = handoff(one.tracer.start_span("span"))
        with resume(token, tracer_provider=two.provider):
            pass
        leaving = threading.Thread(target=two.provider.shutdown)
        leaving.start()
        wait_until(lambda: bool(sgp.spans()))
        end_is_there.set()
        leaving.join()
        one.flush()
    assert rows(sgp)["span"]["end_timestamp"]


def test_the_filter_s_decision_travels(sgp: DevServer, process: MakeProcess) -> None:
    """A span that is left out where it starts is left out where it ends, and stands between no others."""
    one, two = (process(name, span_filter=lambda span: span.name != "noise") for name in ("one", "two"))
    with one.tracer.start_as_current_span("request"):
        noise = one.tracer.start_span("noise")
        below = one.tracer.start_span("below noise", trace.set_span_in_context(noise))
    noise.update_name("renamed")  # of which the filter would think otherwise
    tokens = handoff(noise), handoff(below)
    one.flush()
    with resume(tokens[0], tracer_provider=two.provider):
        two.tracer.start_span("also below noise").end()
    with resume(tokens[1], tracer_provider=two.provider):
        pass
    two.flush()
    found = rows(sgp)
    assert set(found) == {"request", "below noise", "also below noise"}
    assert {found[name]["parent_id"] for name in ("below noise", "also below noise")} == {found["request"]["id"]}


def test_a_resumed_span_is_asked_no_filter(sgp: DevServer, process: MakeProcess) -> None:
    """SGP shows it as running: nobody may leave it out now."""
    one, two = process("one"), process("two", span_filter=agent_spans)
    token = handoff(one.tracer.start_span("GET", kind=SpanKind.CLIENT))
    one.flush()
    with resume(token, tracer_provider=two.provider):
        pass
    two.flush()
    assert rows(sgp)["GET"]["end_timestamp"]


def test_the_trace_s_group_travels(sgp: DevServer, process: MakeProcess) -> None:
    """The row of a span keeps the group that it inherited where it started, and children get it, too."""
    one, two = process("one"), process("two")
    with one.tracer.start_as_current_span("request", attributes={"session.id": "conversation 7"}):
        span = one.tracer.start_span("span")
    one.flush()
    with resume(handoff(span), tracer_provider=two.provider):
        two.tracer.start_span("child").end()
    two.flush()
    found = rows(sgp)
    assert {found[name]["group_id"] for name in ("request", "span", "child")} == {"conversation 7"}


def test_what_was_joined_is_passed_on_to_other_services(process: MakeProcess) -> None:
    """The baggage is there again inside the block, and gone behind it."""
    one, two = process("one"), process("two")
    span = one.tracer.start_span("span", attributes={GROUP: "group 7"})
    with resume(handoff(span), tracer_provider=two.provider):
        assert baggage.get_baggage("sgp.group_id") == "group 7"
    assert not baggage.get_all()


def test_nothing_is_said_and_nothing_is_kept(process: MakeProcess, caplog: pytest.LogCaptureFixture) -> None:
    """No warning, and every table is back to zero."""
    caplog.set_level(logging.WARNING)
    one, two = process("one"), process("two")
    for number in range(50):
        with resume(handoff(one.tracer.start_span(f"span {number}")), tracer_provider=two.provider):
            pass
    one.flush()
    two.flush()
    for each in (one, two):
        assert len(each.state.open_spans) == len(each.state.handed_off) == each.processor.stats().pending == 0
    assert caplog.messages == []


def test_a_cancelled_activity_in_a_thread_ends_its_span_as_canceled(sgp: DevServer, process: MakeProcess) -> None:
    """Temporal raises an exception of its own there, which is one."""
    exceptions = pytest.importorskip("temporalio.exceptions", reason="needs the dev extra")
    one, two = process("one"), process("two")
    token = handoff(one.tracer.start_span("span"))
    one.flush()
    with pytest.raises(exceptions.CancelledError), resume(token, tracer_provider=two.provider):
        raise exceptions.CancelledError("the workflow was cancelled")
    two.flush()
    assert rows(sgp)["span"]["status"] == "CANCELED"
