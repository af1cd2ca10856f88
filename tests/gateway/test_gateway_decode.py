"""Bytes to requests: OTLP's JSON and protobuf say the same, and whatever else a sender writes is refused."""

from __future__ import annotations

import contextlib
import gzip
import json

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from otlp import TRACE_ID, ExportTraceServiceRequest, Span, attributes, request_of, span

from otel_sgp_exporter.gateway import decode as decode_module
from otel_sgp_exporter.gateway import wire
from otel_sgp_exporter.gateway.decode import Encoding, decode
from otel_sgp_exporter.gateway.message import UnderWay
from otel_sgp_exporter.gateway.offsets import Offsets
from otel_sgp_exporter.gateway.refusal import Refusal
from otel_sgp_exporter.gateway.spans import records_of
from otel_sgp_exporter.gateway.wire import MAX_SPAN_BYTES, Incoming, Invalid

WHOLE = request_of(
    span(
        1,
        "chat",
        parent_span_id=(9).to_bytes(8, "big"),
        kind=Span.SPAN_KIND_CLIENT,
        flags=0x301,
        trace_state="sgp=1",
        attributes=attributes({"text": "hé", "number": -(2**62), "float": 0.5, "flag": True, "list": ["a", 1, None]}),
        events=[Span.Event(name="e", time_unix_nano=17, attributes=attributes({"k": {"nested": [b"\xff\x00"]}}))],
        links=[Span.Link(trace_id=TRACE_ID, span_id=(5).to_bytes(8, "big"))],
        dropped_attributes_count=3,
        status={"code": 2, "message": "boom"},
    ),
    span(2, "no attributes"),
)


def _field(number: int, data: bytes) -> bytes:
    size, length = bytearray(), len(data)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2, *size, length]) + data


def as_json(**changed: object) -> dict[str, object]:
    """One span as the specification writes it: ids in hex, 64-bit integers as text."""
    written = {
        "traceId": TRACE_ID.hex(),
        "spanId": "00f067aa0ba902b7",
        "name": "curl",
        "kind": 3,
        "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": "1700000001000000000",
        **changed,
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [written]}]}]}


def spans_of(body: bytes, encoding: Encoding) -> list[Incoming | Invalid]:
    return list(decode(body, encoding))


def decoded(written: object) -> Span:
    [found] = spans_of(orjson.dumps(written), Encoding.JSON)
    assert isinstance(found, Incoming)
    return found.span


def expected_of(request: ExportTraceServiceRequest) -> list[Incoming]:
    return [
        Incoming(each, resource_spans.resource.SerializeToString(), scope_spans.scope.SerializeToString())
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for each in scope_spans.spans
    ]


def test_json_and_protobuf_of_one_request_are_the_same() -> None:
    """Written by protobuf's own JSON, with the ids in hex as OTLP wants them."""
    written = json_format.MessageToDict(WHOLE)
    for each, original in zip(
        written["resourceSpans"][0]["scopeSpans"][0]["spans"], WHOLE.resource_spans[0].scope_spans[0].spans, strict=True
    ):
        each |= {"traceId": original.trace_id.hex(), "spanId": original.span_id.hex()}
        if original.parent_span_id:
            each["parentSpanId"] = original.parent_span_id.hex()
        for link, linked in zip(each.get("links", []), original.links, strict=True):
            link |= {"traceId": linked.trace_id.hex(), "spanId": linked.span_id.hex()}
    assert expected_of(WHOLE) == spans_of(orjson.dumps(written), Encoding.JSON)
    assert expected_of(WHOLE) == spans_of(WHOLE.SerializeToString(), Encoding.PROTOBUF)


def test_a_request_of_many_resources_is_read_whole() -> None:
    """Also where a message brings its children before its resource, and fields that are not known yet."""
    request = request_of(span(1), span(2), resource={"service.name": "a"})
    request.MergeFrom(request_of(span(3), resource={"service.name": "b"}))
    request.resource_spans[0].scope_spans.add().spans.append(span(4))
    request.resource_spans.add().scope_spans.add()
    reversed_ = b"".join(
        _field(1, _field(2, b"".join(_field(2, each.SerializeToString()) for each in scope_spans.spans)) + resource)
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for resource in [_field(1, resource_spans.resource.SerializeToString())]
    )
    unknown = b"\x98\x06\x01" + b"\x9d\x06abcd" + b"\x99\x06abcdefgh" + _field(15, b"later")
    expected = expected_of(request)
    assert expected == spans_of(unknown + request.SerializeToString() + unknown, Encoding.PROTOBUF)
    assert [each.span for each in expected] == [each.span for each in spans_of(reversed_, Encoding.PROTOBUF)]


def nested(levels: int) -> bytes:
    """A text in so many arrays, as an attribute."""
    value = b"\x0a\x01x"
    for _ in range(levels):
        value = _field(5, _field(1, value))
    return _field(9, b"\x0a\x01k" + _field(2, value))


ABOUT_2 = span(2).SerializeToString()
UNREADABLE = {
    "text that is no UTF-8": ABOUT_2 + _field(5, b"\xff\xfe"),
    "text cut in a character": ABOUT_2 + _field(5, b"ab\xf0\x9f"),
    "nested too deeply": ABOUT_2 + nested(200),
    "cut in a field": ABOUT_2 + b"\x2a\x09a",
    "large and cut": ABOUT_2 + _field(5, b"x" * 300_000) + b"\x2a\x09a",
    "nothing of protobuf behind the ids": ABOUT_2[:28] + b"\xff" * 20,
}


@pytest.mark.parametrize("broken", UNREADABLE.values(), ids=UNREADABLE)
def test_a_span_that_protobuf_cannot_read_is_named_and_its_neighbours_go_on(broken: bytes) -> None:
    spans = span(1).SerializeToString(), broken, span(3).SerializeToString()
    body = _field(1, _field(2, b"".join(_field(2, each) for each in spans)))
    first, invalid, last = spans_of(body, Encoding.PROTOBUF)
    assert [span(1), span(3)] == [each.span for each in (first, last)]
    assert Invalid(f"0000000000000002 of trace {TRACE_ID.hex()}", wire.NO_SPAN) == invalid


def test_a_span_is_named_by_its_ids_as_far_as_they_can_be_read() -> None:
    broken = ABOUT_2[:18] + b"\xff" * 20
    [invalid] = spans_of(_field(1, _field(2, _field(2, broken))), Encoding.PROTOBUF)
    assert Invalid(f" of trace {TRACE_ID.hex()}", wire.NO_SPAN) == invalid


@pytest.mark.parametrize("size", range(1, len(WHOLE.SerializeToString())))
def test_a_request_cut_anywhere_is_refused(size: int) -> None:
    with pytest.raises(Refusal):
        spans_of(WHOLE.SerializeToString()[:size], Encoding.PROTOBUF)


def test_a_span_that_is_too_large_is_named_and_its_neighbours_go_on() -> None:
    huge = span(2, attributes=attributes({"text": "x" * MAX_SPAN_BYTES}))
    found = spans_of(request_of(span(1), huge, span(3)).SerializeToString(), Encoding.PROTOBUF)
    assert [Incoming, Invalid, Incoming] == [type(each) for each in found]
    assert str(found[1].span).startswith("0000000000000002 of trace 4bf92f35")


def test_a_span_of_more_parts_than_memory_should_hold_is_named() -> None:
    """An empty event takes two bytes on the wire, and eighty in memory."""
    many = span(2).SerializeToString() + b"\x5a\x00" * 2_000_000
    [found] = spans_of(_field(1, _field(2, _field(2, many))), Encoding.PROTOBUF)
    assert isinstance(found, Invalid)
    assert "attributes, events and links" in found.why


EMPTY = {
    "resources": b"\x0a\x00" * 1001,
    "scopes": _field(1, b"\x12\x00" * 1001),
    "spans": _field(1, _field(2, b"\x12\x00" * 1001)),
    "a bit of each": _field(1, _field(2, b"\x12\x00")) * 401,
}


@pytest.mark.parametrize("body", EMPTY.values(), ids=EMPTY)
def test_more_empty_messages_than_time_should_be_spent_on_are_refused(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(wire, "_MAX_STEPS", 1000)
    with pytest.raises(Refusal, match="more than 1000 fields"):
        spans_of(body, Encoding.PROTOBUF)


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("traceId", TRACE_ID.hex().upper(), "trace_id", TRACE_ID),
        ("kind", 3, "kind", Span.SPAN_KIND_CLIENT),
        ("kind", "SPAN_KIND_CLIENT", "kind", Span.SPAN_KIND_CLIENT),
        ("startTimeUnixNano", "1700000000000000001", "start_time_unix_nano", 1_700_000_000_000_000_001),
        ("startTimeUnixNano", 1_700_000_000_000_000_001, "start_time_unix_nano", 1_700_000_000_000_000_001),
        ("fieldOfTheFuture", {"a": [1]}, "name", "curl"),
        ("name", None, "name", ""),
    ],
)
def test_json_is_read_as_the_specification_says(field: str, value: object, attribute: str, expected: object) -> None:
    """Enums by number or name, 64-bit integers as text or number, unknown fields passed over, hex in either case."""
    assert expected == getattr(decoded(as_json(**{field: value})), attribute)


def test_an_id_that_is_no_hex_costs_its_span_and_not_the_request() -> None:
    written = as_json(traceId="not hex")
    assert decoded(written).trace_id == b"?"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"1",
        b'{"resourceSpans": 1}',
        b'{"resourceSpans": [1]}',
        b'{"resourceSpans": {"scopeSpans": []}}',
        b'{"resourceSpans": [null]}',
        b'{"resourceSpans": [{"scopeSpans": "many"}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [[]]}]}]}',
        b'\xff\xfe{"resourceSpans": []}',
        b'{"resourceSpans": [], "more": "\\ud83d}',
        b'{"resourceSpans": [], "more": ["\\ud83d", NaN]}',
        b"[" * 100_000,
        b'{"resourceSpans":' * 500 + b"1" + b"}" * 500,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_request_in_json_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        spans_of(body, Encoding.JSON)
    assert refused.value.status == 400
    assert refused.value.retry_after_seconds is None


def as_json_with(**changed: object) -> bytes:
    """Of three spans, the second has what is given."""
    request = as_json(spanId=f"{1:016x}")
    spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"]  # type: ignore[index]
    spans += [{**spans[0], "spanId": f"{2:016x}", **changed}, {**spans[0], "spanId": f"{3:016x}"}]
    return json.dumps(request).encode()


def in_arrays(levels: int) -> dict[str, object]:
    value: dict[str, object] = {"stringValue": "x"}
    for _ in range(levels):
        value = {"arrayValue": {"values": [value]}}
    return value


ODD_FIELDS: list[dict[str, object]] = [
    {"name": 5},
    {"startTimeUnixNano": "soon"},
    {"startTimeUnixNano": -1},
    {"kind": {}},
    {"attributes": 5},
    {"attributes": ["k"]},
    {"events": [{"timeUnixNano": 2**70}]},
    {"links": [{"traceId": 7}]},
    {"status": "bad"},
]
ODD_VALUES = [
    {"intValue": 1.7e308},
    {"intValue": 2.0**64},
    {"bytesValue": {"0": 1}},
    {"boolValue": "x"},
    in_arrays(200),
]


@pytest.mark.parametrize(
    "odd",
    [*ODD_FIELDS, *({"attributes": [{"key": "k", "value": value}]} for value in ODD_VALUES)],
    ids=lambda odd: str(odd)[:60],
)
def test_a_span_in_json_that_cannot_be_read_is_named_and_its_neighbours_go_on(odd: dict[str, object]) -> None:
    first, invalid, last = spans_of(as_json_with(**odd), Encoding.JSON)
    assert [b"\1", b"\3"] == [each.span.span_id[-1:] for each in (first, last)]  # type: ignore[union-attr]
    assert Invalid(f"0000000000000002 of trace {TRACE_ID.hex()}", wire.NO_SPAN) == invalid


def test_ids_in_json_that_are_no_texts_are_left_out_of_the_name() -> None:
    _, invalid, _ = spans_of(as_json_with(spanId=17, traceId=None), Encoding.JSON)
    assert Invalid(" of trace ", wire.NO_SPAN) == invalid


@pytest.mark.parametrize("what", ["resource", "scope"])
def test_spans_of_a_resource_or_scope_in_json_that_cannot_be_read_are_named_and_the_others_go_on(what: str) -> None:
    [broken], [good] = as_json()["resourceSpans"], as_json()["resourceSpans"]  # type: ignore[misc]
    (broken if what == "resource" else broken["scopeSpans"][0])[what] = {"attributes": [{"key": 5}]}
    invalid, read = spans_of(orjson.dumps({"resourceSpans": [broken, good]}), Encoding.JSON)
    assert Invalid(f"00f067aa0ba902b7 of trace {TRACE_ID.hex()}", wire.NO_ORIGIN) == invalid
    assert isinstance(read, Incoming)


def test_half_an_emoji_in_json_is_replaced() -> None:
    """As JavaScript writes it where a limit has cut a text; whole ones stay, and so does everything else."""
    number, text = {"intValue": str(2**62)}, {"stringValue": "\ud83d: \ud83d\ude00 \\ud83d hé"}
    odd = [{"key": "k", "value": text}, {"key": "\ude00", "value": number}]
    _, read, _ = spans_of(as_json_with(name="ab\ud83d", attributes=odd), Encoding.JSON)
    assert isinstance(read, Incoming)
    assert read.span.name == "ab\ufffd"
    assert attributes({"k": "\ufffd: 😀 \\ud83d hé", "\ufffd": 2**62}) == list(read.span.attributes)


def test_json_of_more_values_than_memory_should_hold_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "_MAX_JSON_VALUES", 100)
    with pytest.raises(Refusal) as refused:
        spans_of(b"[" + b"{}," * 100 + b"{}]", Encoding.JSON)
    assert refused.value.status == 413


@given(st.binary(max_size=300), st.sampled_from(Encoding))
def test_any_bytes_are_a_request_or_refused(body: bytes, encoding: Encoding) -> None:
    _take(body, encoding)


NAMES = ("resourceSpans", "scopeSpans", "spans", "links", "attributes", "value", "arrayValue", "values", "traceId")
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**64 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(ODD)
def test_any_json_under_our_names_is_a_request_or_refused(written: object) -> None:
    for wrapped in (written, {"resourceSpans": [{"scopeSpans": [{"spans": [written]}]}]}):
        try:
            body = orjson.dumps(wrapped)
        except TypeError:  # an integer that JSON has no room for
            continue
        _take(body, Encoding.JSON)


@given(st.data())
def test_a_request_with_broken_bytes_is_a_request_or_refused(data: st.DataObject) -> None:
    """Bytes of a real one are changed, cut and repeated."""
    encoding = data.draw(st.sampled_from(Encoding))
    whole = WHOLE.SerializeToString() if encoding is Encoding.PROTOBUF else orjson.dumps(as_json())
    body = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    _take(bytes(body[: data.draw(st.integers(0, len(body)))]), encoding)


def _take(body: bytes, encoding: Encoding) -> None:
    with contextlib.suppress(Refusal):
        list(records_of(decode(body, encoding)))


def in_kafka(value: bytes) -> list[Incoming | Invalid]:
    """What a message holds whose encoding is to be found out."""
    return list(UnderWay("topic", 0, 0, value, [], None, Offsets()).decoded("auto"))


def test_a_kafka_message_in_protobuf_of_any_length_is_told_from_json() -> None:
    """One of 123 bytes begins with a newline and a brace."""
    messages = [request_of(span(1, "n" * length)).SerializeToString() for length in range(100)]
    assert b"\n{" in [message[:2] for message in messages]
    for message in messages:
        assert spans_of(message, Encoding.PROTOBUF) == in_kafka(message)


@pytest.mark.parametrize("before", [b"", b" ", b"\t", b"\r\n"])
def test_a_kafka_message_in_json_is_known_by_its_brace(before: bytes) -> None:
    assert spans_of(orjson.dumps(as_json()), Encoding.JSON) == in_kafka(before + orjson.dumps(as_json()))


def test_gzip_is_no_request() -> None:
    with pytest.raises(Refusal):
        spans_of(gzip.compress(WHOLE.SerializeToString()), Encoding.PROTOBUF)
