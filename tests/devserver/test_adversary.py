"""What nobody should send: the server answers, keeps what it has, and goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sgp_client import Sgp, ended, started

from otel_sgp_exporter.devserver import DevServer, parse_setting


def raw(sgp: Sgp, request: bytes) -> bytes:
    """What comes back for these bytes until the server closes the connection."""
    host, port = sgp.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.0\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: evil@localhost\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost.evil.test:5003\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n", b"400"),
        (b"PUT /v5/spans/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n", b"400"),
        (b"PUT /v5/spans/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\nx-api-key: k\r\n", b"401"),
        (b"GET /v5/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"GET //evil.test/ HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"GET /_standin/spans/99999999999999999999999 HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"GET /_standin/spans/%C2%B2 HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"GET /_standin/traces/%00?account=%00 HTTP/1.1\r\nHost: localhost\r\n", b"200"),
        (b"GET /_standin/traces?after=9007199254740993 HTTP/1.1\r\nHost: localhost\r\n", b"422"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"400"),
    ],
    ids=range(16),
)
def test_requests_that_no_client_makes(sgp: Sgp, head: bytes, status: bytes) -> None:
    """Each has a fitting status, and leaves the server as it was."""
    assert raw(sgp, head + b"Connection: close\r\n\r\n").split(b" ")[1] == status
    assert sgp.put(started()).status_code == 200


def test_a_head_without_end(sgp: Sgp) -> None:
    """Cut off, answered or not."""
    with contextlib.suppress(ConnectionError):  # closed while the client was still sending
        assert raw(sgp, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 2_000_000).split(b" ")[1] == b"400"
    assert sgp.put(started()).status_code == 200


@pytest.mark.parametrize("depth", [100, 300, 700, 950, 1100, 50_000])
def test_deep_payloads(sgp: Sgp, depth: int) -> None:
    """Kept as they came or refused with 422; what is kept can be searched and shown."""
    item = json.dumps(ended())[:-1] + ',"input":' + '{"a":' * depth + '"leaf"' + "}" * depth + "}"
    put = sgp.http.put("/v5/spans/batch", content=f'{{"items":[{item}]}}')
    assert put.status_code in (200, 422)
    kept = ["s"] if put.status_code == 200 else []
    assert sgp.found() == sgp.found(search_texts=["leaf"]) == kept
    assert sgp.search(extra_metadata={"a": 1}).status_code == 200
    for path in ("traces", "traces/t?account=acme", "matches?text=leaf", "stats?id=s"):
        assert sgp.http.get(f"/_standin/{path}").status_code == 200
    assert len(sgp.http.get("/_standin/matches?text=leaf").json()["rows"]) == len(kept)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 4000, "1" * 5000, "0." + "1" * 4000, "-0.0"])
def test_huge_numbers(sgp: Sgp, number: str) -> None:
    """In payloads, counts and costs: kept or refused, never a trace that cannot be read."""
    usage = f'{{"usage":{{"input_tokens":{number},"output_tokens":{number},"cost_usd":{number}}}}}'
    item = json.dumps(ended())[:-1] + f',"output":{usage},"metadata":{usage}}}'
    assert sgp.http.put("/v5/spans/batch", content=f'{{"items":[{item}]}}').status_code in (200, 422)
    assert sgp.http.get("/_standin/traces").status_code == 200
    assert sgp.http.get("/_standin/traces/t?account=acme").status_code == 200
    assert sgp.search({"sort_by": "duration_ms"}).status_code == 200


def test_huge_names(sgp: Sgp) -> None:
    """The lists show their beginning, the span all of it."""
    sgp.put_ok(ended(name="n" * 1_000_000))
    for path in ("traces", "traces/t?account=acme"):
        assert len(sgp.http.get(f"/_standin/{path}").content) < 2000
    key = sgp.http.get("/_standin/traces/t?account=acme").json()["rows"][0][0]
    assert sgp.http.get(f"/_standin/spans/{key}").json()["document"]["name"] == "n" * 1_000_000


def test_bodies_without_end(serve: Callable[..., Sgp]) -> None:
    """A stream is cut at the bound: what the service has under tracing, what memory bears under legacy."""

    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * 65536

    for profile in ("tracing-pg", "legacy"):
        sgp = serve(profile=profile)
        with contextlib.suppress(httpx.TransportError):  # closed while the client was still sending
            assert sgp.http.put("/v5/spans/batch", content=endless()).status_code == 413
        assert sgp.put(started()).status_code == 200


def test_many_writers_at_once(sgp: Sgp) -> None:
    """Every span of every writer is there, and every write to the shared one is counted."""

    def write(writer: int) -> set[int]:
        with sgp.as_account("acme") as http:
            batches = ([ended("shared"), *(ended(f"{writer}-{n}-{i}") for i in range(20))] for n in range(10))
            return {http.put("/v5/spans/batch", json={"items": batch}).status_code for batch in batches}

    with ThreadPoolExecutor(16) as pool:
        assert set().union(*pool.map(write, range(16))) == {200}
    assert sgp.server.stats()["distinct_ids"] == 16 * 10 * 20 + 1
    [shared] = sgp.server.stats("shared")["spans"]
    assert shared["ends"] == 160


def test_slow_clients_hold_up_nobody(sgp: Sgp) -> None:
    """Two hundred that never finish their request, and some that never read their answer."""
    sgp.put_ok(*(ended(str(n), input={"text": "x" * 3000}) for n in range(1000)))
    host, port = sgp.server.url.removeprefix("http://").split(":")
    search = b"POST /v5/spans/search?limit=1000 HTTP/1.1\r\nHost: localhost\r\nx-api-key: k\r\n"
    search += b"x-selected-account-id: acme\r\nContent-Length: 2\r\n\r\n{}"
    half = b"PUT /v5/spans/batch HTTP/1.1\r\nHost: localhost\r\nx-api-key: k\r\nContent-Length: 100\r\n"
    half += b"x-selected-account-id: acme\r\n\r\n{"
    connections = [socket.create_connection((host, int(port)), timeout=10) for _ in range(210)]
    try:
        for number, connection in enumerate(connections):
            connection.sendall(search if number < 10 else half)
        assert sgp.put(started("x")).status_code == 200
        assert len(sgp.found({"limit": 10})) == 10
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.parametrize(
    "headers", [{"x\r\ny": "z"}, {"x": "a\r\nb: c"}, {"x": "漢"}, {"": "x"}, {"Content-Length": "3"}]
)
def test_faults_that_http_cannot_carry(sgp: Sgp, headers: dict[str, str]) -> None:
    """422 when they are scripted, not a broken connection when they strike."""
    reply = sgp.http.post("/_standin/faults", json={"status": 503, "headers": headers})
    assert (reply.status_code, reply.json()["detail"][0]["loc"]) == (422, ["body", "headers"])
    assert sgp.put().status_code == 200


@pytest.mark.parametrize("status", [204, 304])
def test_faults_without_a_body(sgp: Sgp, status: int) -> None:
    """Some answers have none."""
    sgp.server.fault(status=status, times=2)
    assert [sgp.put().status_code, sgp.put().status_code, sgp.put().status_code] == [status, status, 200]


def test_counters_do_not_fill_the_memory(sgp: Sgp) -> None:
    """What a client makes up is counted as other."""
    for count in ("7", "7777", "x" * 1000, "-1"):
        sgp.http.put("/v5/spans/batch", json={"items": []}, headers={"x-stainless-retry-count": count})
    assert sgp.server.stats()["retry_counts"] == {"7": 1, "other": 3}


def get(server: DevServer, host: str) -> int:
    return httpx.get(f"{server.url}/_standin/stats", headers={"host": host}).status_code


def test_listening_everywhere() -> None:
    """Then every address leads here, and the names that were allowed: no other name, which anyone could point here."""
    with DevServer(host="0.0.0.0", allowed_hosts=("sgp", "Build-7")) as server:
        assert server.url.startswith("http://127.0.0.1:")
        for host in ("192.0.2.1:5003", "[2001:db8::1]", "sgp:5003", "build-7", "localhost"):
            assert get(server, host) == 200
        for host in ("evil.test", "192.0.2.1.evil.test", "sgp.evil.test"):
            assert get(server, host) == 400
    assert parse_setting("allowed_hosts=sgp,build-7") == ("allowed_hosts", ("sgp", "build-7"))


def test_searches_end_with_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the one under way nor those that wait hold up the end, and nobody is told of a failure."""
    with Sgp(database=None, max_spans=None) as sgp:
        for first in range(0, 20_000, 1000):
            sgp.put_ok(*(ended(str(n), input={"text": "word " * 50}) for n in range(first, first + 1000)))
        began = threading.Barrier(41)

        def search() -> int:
            with sgp.as_account("acme") as http:
                began.wait()
                try:
                    return http.post("/v5/spans/search", json={"search_texts": ["word", "words"]}).status_code
                except httpx.TransportError:  # had not arrived yet
                    return 503

        with ThreadPoolExecutor(40) as pool:
            replies = [pool.submit(search) for _ in range(40)]
            began.wait()
            for _ in range(20):
                sgp.http.get("/v5/spans/0")
            sgp.server.stop()
        assert {reply.result() for reply in replies} <= {200, 503}
        sgp.server.start()  # the block stops it again
    assert caplog.records == []
