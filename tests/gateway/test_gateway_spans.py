"""OTLP spans to records: the same items as in the process that made them, and limits for those made badly."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from otlp import START_NS, TRACE_ID, ExportTraceServiceRequest, Span, attributes, request_of, span

from otel_sgp_exporter._mapping import TraceMemory, to_item
from otel_sgp_exporter._record import Phase, Record
from otel_sgp_exporter.gateway import ended
from otel_sgp_exporter.gateway.decode import Encoding, decode
from otel_sgp_exporter.gateway.spans import MAX_ORIGIN_BYTES, records_of
from otel_sgp_exporter.gateway.values import MAX_ATTRIBUTES, MAX_KEY_CHARACTERS, MAX_VALUES
from otel_sgp_exporter.gateway.wire import Invalid

sys.path.append(str(Path(__file__).parents[1] / "mapping"))

import captured

encoder = pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.common.trace_encoder", reason="needs opentelemetry-exporter-otlp-proto-http"
)

PARENT_ID = (9).to_bytes(8, "big")

# Of the edge cases, one attribute is no text of UTF-8 and one no integer of 64 bits: OTLP has no word for them.
NO_WORD = {"lone_surrogate", "bigint"}
UNSENDABLE = {("edge__sdk_1_45_2", "exc")}
"""Its status is no text of UTF-8: the SDK's OTLP exporter fails on it."""


def records_in(request: ExportTraceServiceRequest) -> list[Record | Invalid]:
    return list(records_of(decode(request.SerializeToString(), Encoding.PROTOBUF)))


def only(request: ExportTraceServiceRequest) -> Record:
    [record] = records_in(request)
    assert isinstance(record, Record)
    return record


def item(*spans: Span) -> dict[str, Any]:
    return to_item(only(request_of(*spans)))


def in_otlp(entries: list[dict[str, Any]], name: str) -> Iterator[tuple[dict[str, Any], ReadableSpan]]:
    for entry in entries:
        if (name, entry["name"]) not in UNSENDABLE:
            yield entry, captured._span(entry, Phase.END)


@pytest.mark.parametrize("name", captured.NAMES)
def test_a_capture_sent_through_otlp_maps_as_in_its_own_process(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Every captured span, encoded by the SDK's own OTLP exporter; items equal to the last byte."""
    if name == "edge__sdk_1_45_2" and metadata.version("opentelemetry-sdk") < "1.45":
        pytest.skip("older OTLP exporters leave out more values")
    caplog.set_level(logging.CRITICAL)  # the encoder logs what OTLP has no word for
    direct, through = TraceMemory(), TraceMemory()
    for entry, readable in in_otlp(captured.load(name), name):
        expected = to_item(captured.record(entry, Phase.END), memory=direct)
        for key in NO_WORD & {*entry["attributes"]}:
            del expected["metadata"]["attributes"][key]
        request = ExportTraceServiceRequest.FromString(encoder.encode_spans([readable]).SerializeToString())
        assert repr(expected) == repr(to_item(only(request), memory=through))


def test_a_span_that_has_ended_is_an_end_and_nothing_else() -> None:
    """No START for it: the END brings the whole row."""
    record = only(request_of(span()))
    assert (Phase.END, (int.from_bytes(TRACE_ID, "big"), 1)) == (record.phase, record.key)


def test_a_span_without_an_end_is_a_start() -> None:
    record = only(request_of(span(end_time_unix_nano=0)))
    assert record.phase is Phase.START
    assert "end_timestamp" not in to_item(record)


def pending(**fields: Any) -> Span:
    """What Logfire's PendingSpanProcessor makes of the start of span 9 under span 7."""
    about = {"logfire.span_type": "pending_span", "logfire.pending_parent_id": f"{7:016x}", "question": "why"}
    return span(
        **{
            "parent_span_id": PARENT_ID,
            "end_time_unix_nano": START_NS,
            "attributes": attributes(about),
            **fields,
        }
    )


def test_a_pending_span_is_the_start_of_the_span_that_it_stands_for() -> None:
    """Its id is the span's, its parent the span's parent, and no word of Logfire's is left in it."""
    record = only(request_of(pending()))
    assert record.phase is Phase.START
    assert record.key[1] == 9
    assert record.parent is not None
    assert record.parent.span_id == 7
    assert record.attributes == {"question": "why"}


def test_a_pending_root_has_no_parent() -> None:
    about = {"logfire.span_type": "pending_span", "logfire.pending_parent_id": "0" * 16}
    assert only(request_of(pending(attributes=attributes(about)))).parent is None


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (pending(parent_span_id=b""), "a pending span without the span that it stands for"),
        (
            pending(attributes=attributes({"logfire.span_type": "pending_span", "logfire.pending_parent_id": "x"})),
            "a pending span with a parent id that is no hex",
        ),
        (span(trace_id=b""), "a trace id of 0 bytes instead of 16"),
        (span(trace_id=b"1" * 8), "a trace id of 8 bytes instead of 16"),
        (span(trace_id=bytes(16)), "a trace id of zeros"),
        (span(span_id=b"1" * 9), "a span id of 9 bytes instead of 8"),
        (span(span_id=bytes(8)), "a span id of zeros"),
        (span(parent_span_id=b"1" * 16), "a parent span id of 16 bytes instead of 8"),
    ],
)
def test_a_span_that_cannot_be_is_named_and_its_neighbours_go_on(broken: Span, why: str) -> None:
    first, invalid, last = records_in(request_of(span(1), broken, span(2)))
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert isinstance(invalid, Invalid)
    assert (broken.span_id[:8].hex(), why) == (invalid.span.partition(" ")[0], invalid.why)


def test_a_parent_of_zeros_is_none() -> None:
    """Some senders write the id of no span."""
    assert only(request_of(span(parent_span_id=bytes(8)))).parent is None


@pytest.mark.parametrize(
    ("kind", "flags", "is_remote"),
    [
        (Span.SPAN_KIND_INTERNAL, 0x100, False),
        (Span.SPAN_KIND_INTERNAL, 0x300, True),
        (Span.SPAN_KIND_SERVER, 0x100, False),
        (Span.SPAN_KIND_SERVER, 0, True),
        (Span.SPAN_KIND_CONSUMER, 0, True),
        (Span.SPAN_KIND_CLIENT, 0x200, False),
    ],
)
def test_whether_the_parent_is_remote_is_in_the_flags_or_guessed_from_the_kind(
    kind: Span.SpanKind.ValueType, flags: int, is_remote: bool
) -> None:
    parent = only(request_of(span(parent_span_id=PARENT_ID, kind=kind, flags=flags))).parent
    assert parent is not None
    assert is_remote == parent.is_remote


def test_a_remote_parent_is_linked_when_the_tracestate_says_that_it_is_in_sgp() -> None:
    """As in the process itself, where the caller's propagator has marked it."""
    remote = {"parent_span_id": PARENT_ID, "flags": 0x300}
    assert "parent_id" not in item(span(**remote))
    for state in ("sgp=1", "other=x,sgp=1", "sgp=0000000000000009 , other=x"):
        assert item(span(**remote, trace_state=state))["parent_id"].endswith("0009")
    for state in ("notsgp=1", "sgp", "sgp=", "sgp=\n", "=,=,,;sgp=1", "x" * 10_000 + ",sgp=1"):
        assert "parent_id" not in item(span(**remote, trace_state=state))


def test_unknown_kinds_and_states_are_the_default_ones() -> None:
    """A newer OTLP may have more of them."""
    request = request_of(span())
    found = request.resource_spans[0].scope_spans[0].spans[0]
    found.kind, found.status.code = 17, 17  # type: ignore[assignment]
    assert ("INTERNAL", "SUCCESS") == (
        to_item(only(request))["metadata"]["otel_kind"],
        to_item(only(request))["status"],
    )


def test_a_failed_span_brings_its_message() -> None:
    found = item(span(status={"code": 2, "message": "boom"}))
    assert ("ERROR", "boom") == (found["status"], found["metadata"]["error_message"])


def test_times_beyond_the_calendar_do_no_harm() -> None:
    found = item(span(start_time_unix_nano=2**64 - 1, end_time_unix_nano=1))
    assert found["start_timestamp"] <= found["end_timestamp"]


def many(count: int, value: Callable[[int], Any] = lambda number: number) -> dict[str, Any]:
    return {f"k{number}": value(number) for number in range(count)}


def test_attributes_beyond_the_limit_are_dropped_and_counted() -> None:
    """As SDKs do; beside those that the sender has dropped already."""
    record = only(request_of(span(attributes=attributes(many(MAX_ATTRIBUTES + 5)), dropped_attributes_count=2)))
    assert (MAX_ATTRIBUTES, 7) == (len(record.attributes), record.dropped_attributes)


def test_a_key_beyond_the_limit_is_dropped_and_counted() -> None:
    record = only(request_of(span(attributes=attributes({"k" * (MAX_KEY_CHARACTERS + 1): 1, "kept": 2}))))
    assert ({"kept": 2}, 1) == (record.attributes, record.dropped_attributes)


def test_values_beyond_the_limit_are_dropped_wherever_they_are_nested() -> None:
    big = {"list": [0] * (MAX_VALUES + 1), "map": {"deep": [[0] * MAX_VALUES] * 2}, "kept": "text"}
    record = only(request_of(span(attributes=attributes(big))))
    assert ({"kept": "text"}, 2) == (record.attributes, record.dropped_attributes)


def test_values_of_many_events_are_limited_together() -> None:
    events = [Span.Event(name="e", attributes=attributes({"list": [0] * 60_000, "n": 1})) for _ in range(3)]
    record = only(request_of(span(events=events)))
    assert [2, 1, 1] == [len(event.attributes or ()) for event in record.events]


def test_events_and_links_beyond_the_limit_are_dropped_and_counted() -> None:
    link = Span.Link(trace_id=TRACE_ID, span_id=PARENT_ID)
    record = only(request_of(span(events=[Span.Event(name="e")] * 5_000, links=[link] * 5_000)))
    assert (4_096, 904, 4_096, 904) == (
        len(record.events),
        record.dropped_events,
        len(record.links),
        record.dropped_links,
    )


def test_a_link_without_whole_ids_is_dropped_and_counted() -> None:
    record = only(request_of(span(links=[Span.Link(trace_id=b"1"), Span.Link(trace_id=TRACE_ID, span_id=PARENT_ID)])))
    assert (1, 1) == (len(record.links), record.dropped_links)


def test_spans_of_a_resource_that_is_too_large_are_named() -> None:
    """Each of them would repeat it."""
    [invalid] = records_in(request_of(span(), resource={"huge": "x" * MAX_ORIGIN_BYTES}))
    assert isinstance(invalid, Invalid)
    assert str(MAX_ORIGIN_BYTES) in invalid.why


@pytest.mark.parametrize("what", ["resource", "scope"])
def test_spans_of_a_resource_or_scope_that_cannot_be_read_are_named_and_the_others_go_on(what: str) -> None:
    """Its text is no UTF-8."""
    broken = request_of(span(1), resource={"service.name": "unread" if what == "resource" else "test"})
    broken.resource_spans[0].scope_spans[0].scope.name = "unread" if what == "scope" else "tests"
    body = broken.SerializeToString().replace(b"unread", b"unrea\xff") + request_of(span(2)).SerializeToString()
    invalid, record = records_of(decode(body, Encoding.PROTOBUF))
    assert isinstance(invalid, Invalid)
    assert invalid.span.startswith("0000000000000001 of trace 4bf92f35")
    assert invalid.why == "its resource or scope is no message of OTLP"
    assert isinstance(record, Record)


def test_equal_resources_are_one_object() -> None:
    """The mapping works out an origin once for each object, and remembers a thousand of them."""
    first, second = only(request_of(span(1))), only(request_of(span(2)))
    assert first.resource is second.resource
    assert first.instrumentation_scope is second.instrumentation_scope


@pytest.mark.parametrize("what", ["resource", "scope"])
def test_a_large_origin_is_unpacked_once_for_all_its_spans_and_then_forgotten(what: str) -> None:
    """It takes milliseconds and a megabyte: one for each span would be a minute, and a thousand of them a gigabyte."""

    def read(first: str) -> list[Any]:
        request = request_of(span(1), span(2), span(3))
        found = request.resource_spans[0]
        large = found.resource if what == "resource" else found.scope_spans[0].scope
        large.attributes.extend(attributes({f"{first}{number}": True for number in range(4_000)}))
        records = [record for record in records_in(request) if isinstance(record, Record)]
        return [record.resource if what == "resource" else record.instrumentation_scope for record in records]

    known, same, another = read("a")
    assert known is same is another
    read("b")
    assert known is not read("a")[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"attributes": attributes(many(4_000))},
        {"attributes": attributes({"nested": many(20_000)})},
        {"attributes": attributes({"list": list(range(1000, 50_000))})},
        {"attributes": attributes({"text": "x" * 100_000})},
        {"events": [Span.Event(name="e", attributes=attributes(many(10)))] * 1_000},
        {"links": [Span.Link(trace_id=TRACE_ID, span_id=PARENT_ID, attributes=attributes(many(5)))] * 1_000},
    ],
    ids=["attributes", "map", "list", "text", "events", "links"],
)
def test_a_record_is_charged_with_about_the_memory_that_it_takes(fields: dict[str, Any]) -> None:
    """Measured with tracemalloc: never more than half as much again, so that the byte budget bounds memory."""
    import tracemalloc

    request = request_of(span(**fields))
    only(request)  # what is made once
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        record = only(request)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < 1.5 * record.charged_bytes


def test_the_ends_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten: their STARTs are let through again. Before the first START there is nothing to know."""
    monkeypatch.setattr(ended, "_MAX_SPANS", 3)
    spans = ended.EndedSpans()
    starts = [only(request_of(span(number, end_time_unix_nano=0))) for number in range(1, 6)]
    ends = [only(request_of(span(number))) for number in range(1, 6)]
    assert ends == spans.without_late_starts(ends)
    assert starts == spans.without_late_starts(starts)
    assert ends == spans.without_late_starts(ends)
    assert starts[:2] == spans.without_late_starts(starts)
