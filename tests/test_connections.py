"""Connections and requests: how long ones are kept, how large others get, how much of an answer is worth reading."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from faults import Exchange, FaultProxy, answer_bytes
from otel_sgp_exporter import SGPSpanExporter, _connections
from otel_sgp_exporter._connections import _DeadlineStream
from otel_sgp_exporter._outcome import TransportError
from support import StubServer, ended_span, wait_until

Made = Callable[..., SGPSpanExporter]


@pytest.mark.parametrize(("quiet_seconds", "connections"), [(60, 1), (120, 2)])
def test_a_connection_outlives_a_quiet_minute(
    exporter_to: Made, server: StubServer, monkeypatch: pytest.MonkeyPatch, quiet_seconds: int, connections: int
) -> None:
    """No handshake for every batch of an agent that is seldom asked; but load balancers drop what is idle for long."""
    exporter = exporter_to(server.url)
    assert exporter.export([ended_span(1)]) is SpanExportResult.SUCCESS
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + quiet_seconds)  # the client's clock, not that of deadlines
    assert exporter.export([ended_span(2)]) is SpanExportResult.SUCCESS
    assert len({request.port for request in server.requests}) == connections


def test_the_kernel_watches_idle_connections(
    exporter_to: Made, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a peer that is gone is noticed, and the connection not used again."""
    made: list[int] = []
    connect = socket.create_connection

    def connected(*args: object, **options: object) -> socket.socket:
        client = connect(*args, **options)  # type: ignore[arg-type]
        made.append(client.fileno())
        return client

    monkeypatch.setattr(socket, "create_connection", connected)
    assert exporter_to(server.url).export([ended_span(1)]) is SpanExportResult.SUCCESS
    [number] = made
    with socket.socket(fileno=number) as client:
        watched = client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        client.detach()
    assert watched


OK = answer_bytes(200, {}, b"{}")
LAST = OK.replace(b"content-length", b"connection: close\r\ncontent-length")


@contextlib.contextmanager
def connected(exporter_to: Made, number: int) -> Iterator[tuple[SGPSpanExporter, FaultProxy]]:
    """An exporter that has had as many requests in flight together, each over a connection of its own.

    The one that was answered first is closed already, as the server asked.
    """
    together, one_is_closed = threading.Barrier(number), threading.Event()

    def answers(exchange: Exchange) -> None:
        exchange.body()
        if exchange.number < number:
            together.wait(10)
        if exchange.number == 0:
            exchange.answer(LAST)
            exchange.wait_for_client_to_leave()
            one_is_closed.set()
        else:
            one_is_closed.wait(10)
            exchange.answer(OK)

    with FaultProxy("", lambda request: answers) as proxy:
        exporter = exporter_to(proxy.url)
        with ThreadPoolExecutor(number) as pool:
            assert {*pool.map(exporter.export, [[ended_span(span + 1)] for span in range(number)])} == {
                SpanExportResult.SUCCESS
            }
        yield exporter, proxy


def test_a_request_is_written_in_one_call_and_looks_at_few_connections(
    exporter_to: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every call of the system a thread waits for the interpreter: 5 ms and more where others want it, too."""
    writes: list[int] = []
    looks: list[_DeadlineStream] = []

    def send(client: socket.socket, data: bytes) -> int:
        writes.append(len(data))
        return send_as_always(client, data)

    def look(stream: _DeadlineStream, info: str) -> object:
        looks.append(stream)
        return look_as_always(stream, info)

    monkeypatch.setattr(_connections, "_LOOK_SECONDS", 0)
    send_as_always, look_as_always = socket.socket.send, _DeadlineStream.get_extra_info
    with connected(exporter_to, 6) as (exporter, proxy):
        monkeypatch.setattr(socket.socket, "send", send, raising=False)
        monkeypatch.setattr(_DeadlineStream, "get_extra_info", look)
        spans = [ended_span(number, attributes={"text": "x" * 500}) for number in range(1, 201)]
        assert exporter.export(spans) is SpanExportResult.SUCCESS
        assert len({exchange.connection for exchange in proxy.seen}) == 6
    [written] = writes
    assert written > 100_000
    assert len({*looks}) <= 2  # its own, and the one that was used least


def test_connections_that_the_server_has_closed_are_let_go(exporter_to: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """With little to send it is always the same one that is used: nobody would look at the others."""
    monkeypatch.setattr(_connections, "_LOOK_SECONDS", 0)
    with connected(exporter_to, 4) as (exporter, proxy):
        assert exporter.export([ended_span(5)]) is SpanExportResult.SUCCESS
        used = proxy.seen[-1].connection
        others = [exchange for exchange in proxy.seen if exchange.connection != used]
        assert len(others) == 3
        for exchange in others:
            if exchange.connection != -1:
                exchange.close_idle()

        def all_are_gone() -> bool:
            assert exporter.export([ended_span(6)]) is SpanExportResult.SUCCESS
            return all(exchange.connection == -1 for exchange in others)

        wait_until(all_are_gone)
        assert proxy.seen[-1].connection == used


def test_the_next_request_goes_over_a_connection_that_is_open(exporter_to: Made) -> None:
    """And not over the one that was used last, if the server has ended that."""
    together, other_is_back = threading.Barrier(2), threading.Event()

    def answers(exchange: Exchange) -> None:
        exchange.body()
        if exchange.number < 2:
            together.wait(10)
        if exchange.number == 0:
            other_is_back.wait(10)
        exchange.answer(OK if exchange.number else LAST)

    with FaultProxy("", lambda request: answers) as proxy, ThreadPoolExecutor(2) as pool:
        exporter = exporter_to(proxy.url)
        exports = [pool.submit(exporter.export, [ended_span(span)]) for span in (1, 2)]
        wait(exports, return_when=FIRST_COMPLETED)
        other_is_back.set()
        wait(exports)
        assert exporter.export([ended_span(3)]) is SpanExportResult.SUCCESS
        assert proxy.seen[2].connection == proxy.seen[1].connection


def test_shutdown_closes_all_connections(exporter_to: Made) -> None:
    with connected(exporter_to, 3) as (exporter, proxy):
        exporter.shutdown()
        wait_until(lambda: {exchange.connection for exchange in proxy.seen} == {-1})


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """The URL of a server that has `serve` deal with each connection, one after the other, and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client, contextlib.suppress(OSError):
                        serve(client)

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_an_answer_that_comes_before_the_end_of_the_request_is_read(exporter_to: Made) -> None:
    """A server may refuse what is too large for it and hang up; whatever is still to be written then cannot be."""
    refused = threading.Event()

    def refuse(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(answer_bytes(413, {"connection": "close"}, b""))
        client.close()
        refused.set()

    def body() -> Iterator[bytes]:
        yield b"x" * 20_000
        assert refused.wait(10)
        yield b"x" * 1000

    with serving(refuse) as url:
        transport = exporter_to(url).delivery.transport
        assert transport.send(body(), 21_000, time.monotonic() + 10).status == 413


def test_a_request_is_over_in_time_where_the_line_is_slow(exporter_to: Made) -> None:
    """Also one large piece, of which the system takes a little at a time."""

    def read_slowly(client: socket.socket) -> None:
        while client.recv(65536):
            time.sleep(0.02)

    with serving(read_slowly) as url:
        transport = exporter_to(url).delivery.transport
        began = time.monotonic()
        with pytest.raises(TransportError):
            transport.send([b"x" * 16_000_000], 16_000_000, began + 1)
    assert time.monotonic() - began < 3


@contextlib.contextmanager
def endless(sent: list[int]) -> Iterator[str]:
    """A server that says 200 and then never stops talking; `sent` are the bytes that it got rid of."""

    def talk(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
        while True:
            sent.append(client.send(b" " * 65536))

    with serving(talk) as url:
        yield url


def test_an_answer_without_end_is_left_early_and_is_an_answer(exporter_to: Made) -> None:
    """The status was read: the server has taken the batch, and what else it tells is not worth the time."""
    sent: list[int] = []
    with endless(sent) as url:
        exporter = exporter_to(url, export_timeout_millis=5000)
        for number in range(2):
            assert exporter.export([ended_span(number + 1)]) is SpanExportResult.SUCCESS
    assert sum(sent) < 64 * 1024 * 1024


def test_an_export_of_any_length_is_sent_in_requests_that_the_server_takes(
    exporter_to: Made, server: StubServer
) -> None:
    """The SDK's processor may be told to hand over more at once than one request may hold."""
    spans = [ended_span(number) for number in range(1, 2502)]
    assert exporter_to(server.url).export(spans) is SpanExportResult.SUCCESS
    assert [len(request.items) for request in server.requests] == [1000, 1000, 501]
    assert len({item["id"] for item in server.items}) == 2501
    assert exporter_to(server.url).export([]) is SpanExportResult.SUCCESS
    assert len(server.requests) == 3
