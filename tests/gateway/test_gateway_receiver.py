"""OTLP/HTTP as senders meet it: what is answered, when, and what SGP has by then."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from otlp import JSON, PROTOBUF, START_NS, Answered, Gateway, Span, attributes, post, request_of, send, span

from otel_sgp_exporter.devserver import DevServer
from otel_sgp_exporter.gateway.intake import Intake
from support import Answer, Request, StubServer, upserts, wait_until

status_pb2 = pytest.importorskip("google.rpc.status_pb2", reason="needs googleapis-common-protos")

Starts = Callable[..., Gateway]


def refusal_of(answered: Answered) -> tuple[int, str]:
    """The `google.rpc.Status` of an answer, in whichever content type it came."""
    if answered.headers["content-type"] == JSON:
        found = json.loads(answered.body)
        return found["code"], found["message"]
    assert answered.headers["content-type"] == PROTOBUF
    status = status_pb2.Status.FromString(answered.body)
    return status.code, status.message


def refuses_spans_named(name: str) -> Callable[[Request], Answer | None]:
    return lambda request: Answer(422) if name in request.names else None


def test_spans_are_in_sgp_when_the_answer_comes(server: StubServer, gateway_to: Starts) -> None:
    """That is what the sender's own queue and retries are for."""
    gateway = gateway_to(server.url)
    answered = send(gateway.url, *(span(number, f"span {number}") for number in range(1, 451)))
    assert (200, PROTOBUF, b"") == (answered.status, answered.headers["content-type"], answered.body)
    assert {f"span {number}" for number in range(1, 451)} == {item["name"] for item in server.items}


def test_the_answer_waits_for_sgp(gateway_to: Starts) -> None:
    """No answer goes out while the PUT is not answered."""
    asked, release = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        asked.set()
        release.wait(10)

    answers: list[Answered] = []
    with StubServer(hold) as server:
        gateway = gateway_to(server.url)
        sender = threading.Thread(target=lambda: answers.append(send(gateway.url, span())))
        sender.start()
        assert asked.wait(10)
        assert not answers
        release.set()
        sender.join()
    assert [200] == [answered.status for answered in answers]


def test_accepted_means_queued(gateway_to: Starts) -> None:
    """With --ack=accepted the answer comes while SGP has not answered yet."""
    release = threading.Event()
    with StubServer(lambda request: release.wait(10) and None) as server:  # type: ignore[func-returns-value]
        gateway = gateway_to(server.url, "--ack", "accepted")
        assert send(gateway.url, span()).status == 200
        release.set()
        wait_until(lambda: len(server.items) == 1)


def test_a_finished_span_is_upserted_once_and_a_running_one_twice(server: StubServer, gateway_to: Starts) -> None:
    gateway = gateway_to(server.url)
    assert send(gateway.url, span(1)).status == 200
    assert send(gateway.url, span(2, end_time_unix_nano=0)).status == 200
    assert send(gateway.url, span(2)).status == 200
    assert [["end"], ["start", "end"]] == list(upserts(server.items).values())


def test_a_start_that_is_sent_again_after_its_end_is_not_delivered(server: StubServer, gateway_to: Starts) -> None:
    """A sender may repeat what it thinks was lost; SGP would show a finished span as running."""
    gateway = gateway_to(server.url)
    for end in (0, START_NS + 1, 0):
        assert send(gateway.url, span(1, end_time_unix_nano=end)).status == 200
    both = (span(2), span(2, end_time_unix_nano=0))
    assert send(gateway.url, *both).status == 200
    assert [["start", "end"], ["end"]] == list(upserts(server.items).values())


def test_rejected_spans_are_named_and_the_others_taken(gateway_to: Starts) -> None:
    """Those that SGP refuses, and those that are none: neither is to be sent again."""
    with StubServer(refuses_spans_named("bad")) as server:
        gateway = gateway_to(server.url)
        answered = send(gateway.url, span(1, "good"), span(2, "bad"), span(3, "good"), span(4, trace_id=b""))
        partial = answered.response.partial_success
        assert (200, 2) == (answered.status, partial.rejected_spans)
        assert "0000000000000002 of trace 4bf92f3577b34da6a3ce929d0e0e4736: refused" in partial.error_message
        assert "0000000000000004 of trace : a trace id of 0 bytes" in partial.error_message
        assert {"good"} == {item["name"] for item in server.items if item["id"] and item["name"] != "bad"}


def test_many_rejected_spans_do_not_make_an_answer_without_end(server: StubServer, gateway_to: Starts) -> None:
    answered = send(gateway_to(server.url).url, *[span(trace_id=b"")] * 5_000)
    partial = answered.response.partial_success
    assert partial.rejected_spans == 5_000
    assert partial.error_message.endswith("and 4980 more")
    assert len(partial.error_message) < 4_000


@pytest.mark.parametrize("encoding", [PROTOBUF, JSON])
def test_a_request_without_spans_is_taken(server: StubServer, gateway_to: Starts, encoding: str) -> None:
    body = b"{}" if encoding == JSON else b""
    answered = post(gateway_to(server.url).url, body, content_type=encoding)
    assert (200, encoding, body) == (answered.status, answered.headers["content-type"], answered.body)


def test_json_is_answered_in_json(server: StubServer, gateway_to: Starts) -> None:
    """64-bit integers as text, as OTLP's JSON has them."""
    spans = [{"traceId": "1", "spanId": "2"}, {"traceId": "0b" * 16, "spanId": "0c" * 8, "endTimeUnixNano": "5"}]
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    answered = post(gateway_to(server.url).url, body, content_type="application/json; charset=utf-8")
    assert "1" == json.loads(answered.body)["partialSuccess"]["rejectedSpans"]
    assert 1 == len(server.items)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
        ("identity", bytes),
    ],
    ids=["gzip", "upper case", "deflate", "two gzip members", "identity"],
)
def test_packed_bodies_are_unpacked(
    server: StubServer, gateway_to: Starts, encoding: str, packed: Callable[[bytes], bytes]
) -> None:
    body = packed(request_of(span()).SerializeToString())
    assert 200 == post(gateway_to(server.url).url, body, content_encoding=encoding).status
    assert 1 == len(server.items)


REFUSED: list[Any] = [
    pytest.param({"body": b"\xff\xff"}, 400, 3, id="no protobuf"),
    pytest.param({"body": b"{", "content_type": JSON}, 400, 3, id="no JSON"),
    pytest.param({"body": b"nothing", "content_encoding": "gzip"}, 400, 3, id="no gzip"),
    pytest.param({"body": gzip.compress(b"x" * 100)[:-9], "content_encoding": "gzip"}, 400, 3, id="half a gzip"),
    pytest.param({"body": b"", "content_type": "text/plain"}, 415, 3, id="another content type"),
    pytest.param({"body": b"", "content_type": ""}, 415, 3, id="no content type"),
    pytest.param({"body": b"", "content_encoding": "br"}, 415, 3, id="another packing"),
    pytest.param({"body": b"x" * 2_000_000}, 413, 8, id="too large"),
    pytest.param({"body": gzip.compress(b"x" * 9_000_000), "content_encoding": "gzip"}, 413, 8, id="a bomb"),
    pytest.param({"body": b"", "path": "/v1/metrics"}, 404, 5, id="metrics"),
    pytest.param({"body": b"", "method": "GET"}, 405, 12, id="another method"),
]


@pytest.mark.parametrize(("request_", "status", "code"), REFUSED)
def test_what_can_never_be_taken_is_refused_for_good(
    server: StubServer, gateway_to: Starts, request_: dict[str, Any], status: int, code: int
) -> None:
    """By its HTTP status and a `google.rpc.Status` in the content type of the request, without Retry-After."""
    gateway = gateway_to(server.url, "--max-body-bytes", "1000000")
    answered = post(gateway.url, **request_)
    assert (status, code) == (answered.status, refusal_of(answered)[0])
    assert "retry-after" not in answered.headers
    assert send(gateway.url, span()).status == 200


def test_a_long_request_of_few_bytes_is_refused_by_the_records_that_it_would_be(
    server: StubServer, gateway_to: Starts
) -> None:
    """Never to fit is 413: the sender is not to come again with the same."""
    gateway = gateway_to(server.url, max_records=100)
    answered = send(gateway.url, *map(span, range(1, 102)))
    assert (413, 8) == (answered.status, refusal_of(answered)[0])
    assert send(gateway.url, *map(span, range(1, 101))).status == 200


def test_a_gateway_that_is_full_asks_the_sender_to_come_again(gateway_to: Starts) -> None:
    """Until there is room: back-pressure is an answer and not memory."""
    release = threading.Event()
    with StubServer(lambda request: release.wait(20) and None) as server:  # type: ignore[func-returns-value]
        gateway = gateway_to(server.url, "--ack", "accepted", max_records=100)
        assert send(gateway.url, *map(span, range(1, 81))).status == 200
        answered = send(gateway.url, *map(span, range(81, 161)))
        assert (503, 14, True) == (answered.status, refusal_of(answered)[0], "retry-after" in answered.headers)
        release.set()
        wait_until(lambda: len(server.items) == 80)
        wait_until(lambda: send(gateway.url, *map(span, range(81, 161))).status == 200)


def test_bytes_are_bounded_too(gateway_to: Starts) -> None:
    release = threading.Event()
    with StubServer(lambda request: release.wait(20) and None) as server:  # type: ignore[func-returns-value]
        gateway = gateway_to(server.url, "--ack", "accepted", max_bytes=1_000_000)
        large = {"attributes": attributes({"text": "x" * 200_000})}
        statuses = [send(gateway.url, span(number, **large)).status for number in range(1, 9)]
        pipeline = gateway.tenants.known()[0].pipeline
        assert pipeline.stats().held_bytes <= 1_000_000
        release.set()
        assert {200, 503} == {*statuses}
        wait_until(lambda: not pipeline.stats().pending)
        assert statuses.count(200) == len(server.items)


def test_a_sender_is_asked_to_come_again_before_its_own_patience_ends(gateway_to: Starts) -> None:
    """Its spans stay queued, and the second request, for the same spans, is answered with what becomes of them."""
    release = threading.Event()
    with StubServer(lambda request: release.wait(20) and None) as server:  # type: ignore[func-returns-value]
        gateway = gateway_to(server.url, "--ack-timeout", "0.2")
        answered = send(gateway.url, span())
        assert (503, "2") == (answered.status, answered.headers["retry-after"])
        release.set()
        wait_until(lambda: send(gateway.url, span()).status == 200)
        assert ["end"] * len(server.items) == [kind for kinds in upserts(server.items).values() for kind in kinds]


def test_an_end_that_replaces_another_answers_for_both(gateway_to: Starts) -> None:
    """A span sent twice while the first is queued goes to SGP once, and neither sender is told before it has."""
    first, release = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        first.set()
        release.wait(20)

    with StubServer(hold) as server:
        gateway = gateway_to(server.url)
        pipeline = gateway.tenants.known()[0].pipeline
        answers: list[Answered] = []

        def sender() -> None:
            answers.append(send(gateway.url, span(1)))

        threads = [threading.Thread(target=sender) for _ in range(3)]
        threads[0].start()
        assert first.wait(10)  # in flight: the second is parked behind it, and replaced there by the third
        for number, thread in enumerate(threads[1:], 1):
            thread.start()
            wait_until(lambda offered=number + 1: pipeline.stats().offered == offered)  # type: ignore[misc]
        wait_until(lambda: pipeline.stats().superseded == 1)
        assert not answers
        release.set()
        for thread in threads:
            thread.join()
    assert [200] * 3 == [answered.status for answered in answers]
    assert 2 == len(server.items)


def test_a_span_twice_in_one_request_is_answered(server: StubServer, gateway_to: Starts) -> None:
    assert send(gateway_to(server.url).url, *[span(1)] * 50, span(2)).status == 200


def test_spans_that_sgp_did_not_take_are_asked_for_again(gateway_to: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given up after the export timeout: 503 and not a partial success, which would lose them. The log is silent."""
    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "300")
    with StubServer(lambda request: Answer(500)) as server:
        gateway = gateway_to(server.url)
        answered = send(gateway.url, span())
        stats = gateway.tenants.known()[0].pipeline.stats()
    assert (503, 14) == (answered.status, refusal_of(answered)[0])
    assert "budget_spent" in refusal_of(answered)[1]
    assert (1, {}) == (stats.dropped, stats.lost)


def test_a_refused_key_is_said_at_once(gateway_to: Starts) -> None:
    """While nothing can be delivered, requests are not kept waiting; the first one's spans are the probe."""
    with StubServer(lambda request: Answer(401)) as server:
        gateway = gateway_to(server.url, "--ack-timeout", "0.5")
        assert send(gateway.url, span(1)).status == 503
        answered = send(gateway.url, span(2))
        assert (503, True) == (answered.status, "API key" in refusal_of(answered)[1])
        assert 1 == gateway.tenants.known()[0].pipeline.stats().offered


def test_a_defect_of_ours_costs_one_answer_and_gives_nothing_away(
    server: StubServer, gateway_to: Starts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The sender comes again; the log says where, and not what."""
    sent = "content of a span"

    def fails(self: object, *args: object) -> None:
        raise RuntimeError(sent)

    gateway = gateway_to(server.url)
    with monkeypatch.context() as broken:
        broken.setattr(Intake, "_unpacked", fails)
        answered = send(gateway.url, span())
    assert (503, True) == (answered.status, "retry-after" in answered.headers)
    assert "RuntimeError" in caplog.text
    assert "content" not in caplog.text + str(answered.body)
    assert send(gateway.url, span()).status == 200


def test_rows_in_sgp_are_whole(gateway_to: Starts) -> None:
    """Against the local SGP, with children before their parents."""
    with DevServer() as sgp:
        gateway = gateway_to(sgp.url)
        child = span(2, "child", parent_span_id=(1).to_bytes(8, "big"), kind=Span.SPAN_KIND_CLIENT)
        assert send(gateway.url, child, span(1, "root")).status == 200
        rows = {row["name"]: row for row in sgp.spans()}
    assert rows["child"]["parent_id"] == rows["root"]["id"]
    assert "test" == rows["root"]["metadata"]["service_name"]


def test_probes_and_metrics_need_no_token(server: StubServer, gateway_to: Starts) -> None:
    gateway = gateway_to(server.url, token="a secret")
    send(gateway.url, span(), authorization="Bearer a secret")
    assert [200, 200] == [post(gateway.url, b"", path=path, method="GET").status for path in ("/healthz", "/readyz")]
    metrics = post(gateway.url, b"", path="/metrics", method="GET").body.decode()
    assert 'sgp_gateway_requests_total{code="200"} 1\n' in metrics
    assert 'sgp_gateway_records_total{tenant="default",outcome="delivered"} 1\n' in metrics
    assert 'sgp_gateway_puts_total{code="200"} 1\n' in metrics
    assert "secret" not in metrics


def test_stopping_answers_what_is_under_way_and_queued(gateway_to: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes nothing new: a sender keeps what it has for the next gateway."""
    monkeypatch.setenv("OTEL_EXPORTER_SGP_MAX_CONCURRENT_EXPORTS", "1")
    asked, release = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        asked.set()
        release.wait(10)

    answers: list[Answered] = []
    with StubServer(hold) as server:
        gateway = gateway_to(server.url)
        pipeline = gateway.tenants.known()[0].pipeline
        senders = [
            threading.Thread(target=lambda number=number: answers.append(send(gateway.url, span(number))))  # type: ignore[misc]
            for number in (1, 2)
        ]
        senders[0].start()
        assert asked.wait(10)
        senders[1].start()
        wait_until(lambda: pipeline.stats().offered == 2)
        stopping = threading.Thread(target=gateway.stop)
        stopping.start()
        wait_until(lambda: gateway._receiver is not None and gateway._receiver.draining)
        release.set()
        for thread in (stopping, *senders):
            thread.join()
        with pytest.raises(ConnectionError):
            send(gateway.url, span())
    assert [200, 200] == [answered.status for answered in answers]
    assert 2 == len(server.items)


def test_a_request_that_comes_while_it_stops_is_sent_away(server: StubServer, gateway_to: Starts) -> None:
    """On a connection that was open already."""
    gateway = gateway_to(server.url)
    assert gateway._receiver is not None
    gateway._receiver.draining = True
    answered = send(gateway.url, span())
    assert (503, "close", True) == (answered.status, answered.headers["connection"], "retry-after" in answered.headers)
    assert not server.items


def test_stopping_leaves_running_spans_running(server: StubServer, gateway_to: Starts) -> None:
    """They are open in other processes, and end through another gateway."""
    gateway = gateway_to(server.url)
    assert send(gateway.url, span(end_time_unix_nano=0)).status == 200
    gateway.stop()
    assert [["start"]] == list(upserts(server.items).values())
