"""The exporter alone, under the stock processors, and its transport on real sockets."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult

from otel_sgp_exporter import SGPSpanExporter
from support import Answer, Request, StubServer, ended_span, settings, upserts

Made = Callable[..., SGPSpanExporter]


@pytest.mark.parametrize("stock", [SimpleSpanProcessor, BatchSpanProcessor])
def test_under_a_stock_processor_it_sends_ends(
    exporter_to: Made, server: StubServer, stock: type[SpanProcessor]
) -> None:
    """Each span arrives once, complete."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(stock(exporter_to(server.url)))  # type: ignore[call-arg]
    for number in range(5):
        provider.get_tracer("t").start_span(f"span {number}").end()
    provider.shutdown()
    assert list(upserts(server.items).values()) == [["end"]] * 5


def fails_first(times: int, answer: Answer) -> tuple[StubServer, list[int]]:
    left = [times]

    def script(request: Request) -> Answer | None:
        left[0] -= 1
        return answer if left[0] >= 0 else None

    return StubServer(script), left


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_retried_with_the_same_bytes(exporter_to: Made, status: int) -> None:
    """A busy or broken backend gets another chance."""
    server, _ = fails_first(1, Answer(status, {"retry-after-ms": "10"}))
    with server:
        assert exporter_to(server.url).export([ended_span(1)]) is SpanExportResult.SUCCESS
    first, second = server.requests
    assert first.items == second.items


@pytest.mark.parametrize("status", [301, 308, 404, 405, 418, 501])
def test_what_cannot_pass_is_not_retried(exporter_to: Made, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """One request, one line with the server's reason, and no redirect followed with the key."""
    answer = Answer(status, {"location": "/elsewhere"}, b'{"detail":"the reason"}')
    with StubServer(lambda request: answer) as server:
        assert exporter_to(server.url).export([ended_span(1)]) is SpanExportResult.FAILURE
    assert len(server.requests) == 1
    [line] = [record.getMessage() for record in caplog.records]
    assert f"HTTP {status}" in line
    assert "the reason" in line
    assert "key-for-tests" not in line


def test_retries_end_with_the_export_timeout(exporter_to: Made) -> None:
    """The budget holds, and its end is a failure."""
    with StubServer(lambda request: Answer(503)) as server:
        exporter = exporter_to(server.url, export_timeout_millis=700)
        began = time.monotonic()
        assert exporter.export([ended_span(1)]) is SpanExportResult.FAILURE
        assert time.monotonic() - began < 1.2
    assert len(server.requests) > 1


def test_shutdown_ends_a_retry(exporter_to: Made) -> None:
    """Nobody waits for a budget after shutdown, and later exports fail at once."""
    with StubServer(lambda request: Answer(503, {"retry-after": "20"})) as server:
        exporter = exporter_to(server.url)
        threading.Timer(0.2, exporter.shutdown).start()
        began = time.monotonic()
        assert exporter.export([ended_span(1)]) is SpanExportResult.FAILURE
        assert time.monotonic() - began < 5
    assert exporter.export([ended_span(2)]) is SpanExportResult.FAILURE


def test_odd_values_cost_neither_the_span_nor_its_neighbours(exporter_to: Made, server: StubServer) -> None:
    """NaN, bytes, a lone surrogate, a huge integer, a key that is no text, a value that contains itself."""
    circular: dict[str, object] = {}
    circular["self"] = circular
    odd = [float("nan"), b"\xff", "\ud800", 2**70, {5: "five"}, circular]
    spans = [ended_span(number + 1, attributes={"odd": value}) for number, value in enumerate(odd)]
    spans.append(ended_span(99, attributes={7: "no text"}))
    assert exporter_to(server.url).export(spans) is SpanExportResult.SUCCESS
    assert len(server.items) == 7


def test_an_end_before_its_start_is_clamped_and_noted(exporter_to: Made, server: StubServer) -> None:
    """A step of the clock costs nothing."""
    span = ended_span(1, start_time=2_000_000_000, end_time=1_000_000_000)
    assert exporter_to(server.url).export([span]) is SpanExportResult.SUCCESS
    [item] = server.items
    assert item["start_timestamp"] == item["end_timestamp"] == "1970-01-01T00:00:02.000000+00:00"
    assert any("end" in key for key in item["metadata"])


def test_large_exports_are_split_by_bytes(exporter_to: Made, server: StubServer) -> None:
    """No body exceeds `max_request_bytes`."""
    exporter = exporter_to(server.url, max_request_bytes=20_000)
    spans = [ended_span(number, attributes={"text": "x" * 5000}) for number in range(1, 11)]
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    assert all(int(request.headers["content-length"]) <= 20_000 for request in server.requests)
    assert len(server.items) == 10


def test_a_callable_key_is_asked_again_after_a_401(exporter_to: Made) -> None:
    """A rotated key is fetched when the old one is refused, and then kept."""
    asked = []

    def current_key() -> str:
        asked.append(len(asked))
        return "expired" if len(asked) == 1 else "fresh"

    with StubServer(lambda request: Answer(401) if request.headers["x-api-key"] == "expired" else None) as server:
        exporter = exporter_to(server.url, api_key=current_key)
        for number in range(2):
            assert exporter.export([ended_span(number + 1)]) is SpanExportResult.SUCCESS
    assert [request.headers["x-api-key"] for request in server.requests] == ["expired", "fresh", "fresh"]
    assert asked == [0, 1]


def test_a_key_that_cannot_be_had_is_retried_and_its_error_not_shown(
    exporter_to: Made, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception of the callable may hold a secret."""

    def broken() -> str:
        raise RuntimeError("the-secret")

    exporter = exporter_to("http://127.0.0.1:1", api_key=broken, export_timeout_millis=200)
    assert exporter.export([ended_span(1)]) is SpanExportResult.FAILURE
    assert "RuntimeError" in caplog.text
    assert "the-secret" not in caplog.text


def test_gzip_when_asked_for(exporter_to: Made) -> None:
    """The body is compressed and says so."""
    bodies = []

    def keep(request: Request) -> None:
        bodies.append(request.headers)

    with StubServer(keep) as server:
        exporter = exporter_to(server.url, compression="gzip")
        assert exporter.export([ended_span(1, attributes={"text": "x" * 10_000})]) is SpanExportResult.SUCCESS
    assert bodies[0]["content-encoding"] == "gzip"
    assert int(bodies[0]["content-length"]) < len(gzip.compress(b"x" * 10_000)) + 1000


def test_its_repr_holds_no_secret() -> None:
    """Safe to log."""
    assert "key-for-tests" not in repr(SGPSpanExporter(**settings("http://127.0.0.1:1")))


@contextmanager
def raw_server(talk: bytes, seconds_between_bytes: float) -> Iterator[str]:
    """Answers every request with `talk`, a byte at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        for byte in talk:
                            connection.sendall(bytes([byte]))
                            time.sleep(seconds_between_bytes)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(b"", id="closes"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx-slow: " + b"z" * 200, id="drips its headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n" + b" " * 200, id="drips its body"),
        pytest.param(b"this is not HTTP\r\n\r\n", id="talks nonsense"),
    ],
)
def test_the_deadline_covers_the_whole_request(exporter_to: Made, talk: bytes) -> None:
    """However a server misbehaves, an attempt ends with its deadline."""
    with raw_server(talk, 0.02) as url:
        exporter = exporter_to(url, timeout_millis=300, export_timeout_millis=600)
        began = time.monotonic()
        assert exporter.export([ended_span(1)]) is SpanExportResult.FAILURE
        assert time.monotonic() - began < 1.1


def test_a_reply_of_any_length_is_read_and_the_connection_used_again(exporter_to: Made) -> None:
    """The echo of the batch is drained, not parsed."""
    with StubServer(lambda request: Answer(body=b'{"items":[' + b" " * 2_000_000 + b"]}")) as server:
        exporter = exporter_to(server.url)
        for _ in range(3):
            assert exporter.export([ended_span(1)]) is SpanExportResult.SUCCESS
    assert len({request.port for request in server.requests}) == 1


def test_proxies_of_the_environment_are_used(
    exporter_to: Made, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with every other client, unless `no_proxy` says otherwise."""
    monkeypatch.setenv("http_proxy", server.url)
    exporter = exporter_to("http://sgp.invalid")
    assert exporter.export([ended_span(1)]) is SpanExportResult.SUCCESS
    assert server.requests[0].path == "http://sgp.invalid/v5/spans/batch"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert exporter_to(server.url).export([ended_span(1)]) is SpanExportResult.SUCCESS
    assert server.requests[1].path == "/v5/spans/batch"


def test_base_urls_may_have_a_path(exporter_to: Made, server: StubServer) -> None:
    """Inside a cluster the API is under /public."""
    exporter_to(server.url + "/public/").export([ended_span(1)])
    assert server.requests[0].path == "/public/v5/spans/batch"
