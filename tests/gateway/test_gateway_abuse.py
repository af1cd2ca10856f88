"""Senders who mean harm, or were written badly: each is refused, memory stays flat, and the others are served."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from otlp import Gateway, environment, post, request_of, running, send, span

from otel_sgp_exporter.gateway import protocol, serve
from otel_sgp_exporter.gateway.body import Unzip
from support import StubServer, wait_until

Starts = Callable[..., Gateway]
HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/x-protobuf\r\n"


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), parts.port or 80), timeout=20) as connection:
        yield connection


def status_of(connection: socket.socket) -> int:
    """Of one answer, read to its end."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def answer_to(connection: socket.socket) -> bytes:
    """All that comes until the other side closes; a reset is an end as well."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize(
    "said",
    [
        b"POST /v1/traces HTTP/1.1\r\nhost: gate",
        b"",
        b"G",
        HEAD + b"x-endless: ",
    ],
    ids=["half a head", "nothing", "a byte", "half a header"],
)
def test_a_head_that_does_not_come_is_not_waited_for(
    server: StubServer, gateway_to: Starts, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(protocol, "REST_SECONDS", 0.2)
    with connected(gateway_to(server.url).url) as connection:
        connection.sendall(said)
        assert answer_to(connection) == b""


def test_a_head_that_drips_is_not_waited_for_either(
    server: StubServer, gateway_to: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then does not win more time."""
    monkeypatch.setattr(protocol, "REST_SECONDS", 0.3)
    closed = False
    with connected(gateway_to(server.url).url) as connection:
        for byte in HEAD * 100:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                closed = True
                break
            time.sleep(0.02)
    assert closed


def test_the_next_head_on_a_kept_connection_is_not_waited_for_longer(
    server: StubServer, gateway_to: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "REST_SECONDS", 0.3)
    with connected(gateway_to(server.url).url) as connection:
        connection.sendall(HEAD + b"content-length: 0\r\n\r\n")
        assert status_of(connection) == 200
        connection.sendall(b"POST /v1")
        assert answer_to(connection) == b""


def test_an_idle_connection_is_kept(server: StubServer, gateway_to: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Senders keep theirs: between two requests there is no head to wait for."""
    monkeypatch.setattr(protocol, "REST_SECONDS", 0.1)
    with connected(gateway_to(server.url).url) as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"content-length: 0\r\n\r\n")
            assert status_of(connection) == 200
            time.sleep(0.3)


def test_a_body_that_drips_is_refused_in_time(
    server: StubServer, gateway_to: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408, and what it took up is free again."""
    monkeypatch.setattr(serve, "_BODY_SECONDS", 0.3)
    gateway = gateway_to(server.url)
    with connected(gateway.url) as connection:
        connection.sendall(HEAD + b"content-length: 1000000\r\n\r\n" + b"\x00" * 1000)
        assert status_of(connection) == 408
    wait_until(lambda: gateway._reserve.taken == 0)
    assert send(gateway.url, span()).status == 200


def test_the_rest_of_a_refused_body_is_not_waited_for(
    server: StubServer, gateway_to: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come, so that the answer is read; but not for ever."""
    monkeypatch.setattr(protocol, "REST_SECONDS", 0.3)
    gateway = gateway_to(server.url, "--max-body-bytes", "1000")
    with connected(gateway.url) as connection:
        connection.sendall(HEAD + b"content-length: 5000\r\n\r\n")
        assert status_of(connection) == 413
        connection.sendall(b"\x00" * 5000)  # all of it came: the connection is good for more
        connection.sendall(HEAD + b"content-length: 0\r\n\r\n")
        assert status_of(connection) == 200
        connection.sendall(HEAD + b"content-length: 5000\r\n\r\n" + b"\x00" * 10)
        assert status_of(connection) == 413
        assert answer_to(connection) == b""


def test_a_sender_that_leaves_leaves_nothing_behind(server: StubServer, gateway_to: Starts) -> None:
    gateway = gateway_to(server.url)
    with connected(gateway.url) as connection:
        connection.sendall(HEAD + b"content-length: 1000000\r\n\r\n" + b"\x00" * 100_000)
        wait_until(lambda: gateway._reserve.taken > 0)
    wait_until(lambda: gateway._reserve.taken == 0)
    assert send(gateway.url, span()).status == 200


def test_bodies_take_up_no_more_memory_than_is_reserved_for_them(server: StubServer, gateway_to: Starts) -> None:
    """One sender too many is asked to come again; when the others have gone, it is served."""
    gateway = gateway_to(server.url, "--max-body-bytes", "100000")
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(gateway.url)) for _ in range(4)]
        for connection in slow:
            connection.sendall(HEAD + b"content-length: 100000\r\n\r\n" + b"\x00" * 99_000)
        wait_until(lambda: gateway._reserve.taken == 4 * 99_000)
        assert post(gateway.url, b"\x00" * 50_000).status == 503
    wait_until(lambda: gateway._reserve.taken == 0)
    assert send(gateway.url, span()).status == 200


def test_a_body_longer_than_announced_bytes_is_refused(server: StubServer, gateway_to: Starts) -> None:
    """Chunks without an announced length are counted as they come."""
    gateway = gateway_to(server.url, "--max-body-bytes", "100000")
    with connected(gateway.url) as connection, contextlib.suppress(OSError):
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(200):
            connection.sendall(b"1000\r\n" + b"\x00" * 4096 + b"\r\n")
        assert status_of(connection) == 413
    assert send(gateway.url, span()).status == 200


def test_a_bomb_is_unpacked_in_pieces() -> None:
    """And no further than it is asked for."""
    pieces = Unzip().feed(gzip.compress(b"\x00" * 100_000_000))
    assert [256 * 1024] * 3 == [len(next(pieces)) for _ in range(3)]


def test_what_is_no_http_is_refused(server: StubServer, gateway_to: Starts) -> None:
    gateway = gateway_to(server.url)
    with connected(gateway.url) as connection:
        connection.sendall(os.urandom(100) + b"\r\n\r\n")
        assert answer_to(connection).startswith((b"HTTP/1.1 400 ", b""))
    with connected(gateway.url) as connection:
        connection.sendall(HEAD + b"content-length: -5\r\n\r\n")
        assert b"HTTP/1.1 400 " in answer_to(connection)
    assert send(gateway.url, span()).status == 200


def test_more_connections_than_allowed_are_closed(
    server: StubServer, gateway_to: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 5)
    monkeypatch.setattr(protocol, "REST_SECONDS", 60)
    gateway = gateway_to(server.url)
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(connected(gateway.url)) for _ in range(5)]
        for connection in kept:
            connection.sendall(HEAD[:10])
        with connected(gateway.url) as one_more:
            assert answer_to(one_more) == b""
    wait_until(lambda: _is_served(gateway.url))


def _is_served(url: str) -> bool:
    with contextlib.suppress(OSError):
        return send(url, span()).status == 200
    return False


def test_more_requests_than_allowed_are_sent_away(gateway_to: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_MAX_REQUESTS", 1)
    asked, release = threading.Event(), threading.Event()

    def hold(request: object) -> None:
        asked.set()
        release.wait(10)

    with StubServer(hold) as server:
        gateway = gateway_to(server.url)
        first = threading.Thread(target=send, args=(gateway.url, span(1)))
        first.start()
        assert asked.wait(10)
        assert send(gateway.url, span(2)).status == 503
        release.set()
        first.join()
        assert send(gateway.url, span(2)).status == 200


def _nested(body: bytes, *fields: int) -> bytes:
    """`body` in a message in a message: the outermost field comes first."""
    for field in reversed(fields):
        length, prefix = len(body), bytearray()
        while length > 0x7F:
            prefix.append(length & 0x7F | 0x80)
            length >>= 7
        body = bytes([field << 3 | 2, *prefix, length]) + body
    return body


TINY_ATTRIBUTE = b"\x4a\x07\x0a\x01a\x12\x02\x18\x01"  # nine bytes, and a hundred in memory
EMPTY_VALUES = _nested(b"\x0a\x00" * 3_900_000, 9, 2, 5)  # the same, in a list


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat_whatever_is_sent() -> None:
    """The worst requests that we know, after each other and at once: what they take up at most is bounded.

    Two bytes on the wire can be two hundred in memory, and a gateway that is hit twice as often holds no more.
    """
    worst: list[tuple[bytes, dict[str, str]]] = [
        (gzip.compress(b"\x00" * 200_000_000), {"content_encoding": "gzip"}),
        (os.urandom(1_000_000), {}),
        (_nested(b"\x12\x00" * 1_000_000, 1, 2), {}),  # empty spans
        (b"\x0a\x00" * 1_000_000, {}),  # empty resources
        (_nested(b"\x5a\x00" * 1_900_000, 1, 2, 2), {}),  # empty events
        (_nested(TINY_ATTRIBUTE * 500_000, 1, 2, 2), {}),
        (_nested(TINY_ATTRIBUTE * 28_000, 1, 2, 2) * 30, {}),
        (gzip.compress(_nested(EMPTY_VALUES, 1, 2, 2) * 2), {"content_encoding": "gzip"}),
        (b'{"resourceSpans":[' + b"{}," * 100_000 + b"{}]}", {"content_type": "application/json"}),
        (request_of(*[span(trace_id=b"")] * 10_000).SerializeToString(), {}),
        (request_of(*[span(end_time_unix_nano=0)] * 10_000).SerializeToString(), {}),
        (request_of(span(), resource={"huge": "x" * 10_000_000}).SerializeToString(), {}),
    ]
    with StubServer() as server, running(env=environment(server.url)) as (process, url):
        assert send(url, span()).status == 200
        before = _resident_mib(process.pid)
        rounds = []
        for _ in range(2):
            for body, headers in worst:
                _send_several(url, body, headers)
            rounds.append(_resident_mib(process.pid) - before)
        peak = _peak_mib(process.pid) - before
        assert send(url, span(7)).status == 200
    assert peak < 700
    assert rounds[-1] < rounds[0] + 150


def _send_several(url: str, body: bytes, headers: dict[str, str]) -> None:
    def one() -> None:
        with contextlib.suppress(OSError):  # refused before it was read: some of it met a closed connection
            post(url, body, **headers)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
