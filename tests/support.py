"""What several tests share: a server that answers as told and remembers everything, and spans to send it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736


@dataclass
class Request:
    """One request as the server saw it: when it had come whole and when it was answered, by `time.monotonic`."""

    began: float
    ended: float
    items: list[dict[str, Any]]
    headers: Mapping[str, str]
    path: str
    port: int

    @property
    def names(self) -> list[str]:
        return [item["name"] for item in self.items]


@dataclass
class Answer:
    """What the server says."""

    status: int = 200
    headers: Mapping[str, str] | None = None
    body: bytes = b'{"object":"list","items":[]}'
    after: Callable[[], object] = lambda: None
    """Called before the answer goes out; may block."""


class StubServer:
    """A real HTTP server on 127.0.0.1. `script` decides the answer to each request; None answers 200."""

    def __init__(self, script: Callable[[Request], Answer | None] | None = None, latency_seconds: float = 0) -> None:
        self.requests: list[Request] = []
        self.arrived: list[Request] = []
        """Those that are not answered yet, too."""
        self._script = script or (lambda request: None)
        self._latency_seconds = latency_seconds
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                began = time.monotonic()
                items = json.loads(body)["items"] if self.headers.get("content-encoding") is None else []
                request = Request(began, 0, items, dict(self.headers), self.path, self.client_address[1])
                stub.arrived.append(request)
                answer = stub._script(request) or Answer()
                time.sleep(stub._latency_seconds)
                answer.after()
                request.ended = time.monotonic()
                stub.requests.append(request)
                self.send_response(answer.status)
                for name, value in (answer.headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    @property
    def items(self) -> list[dict[str, Any]]:
        """Every item received, in the order of the answers."""
        return [item for request in self.requests for item in request.items]

    @property
    def most_in_flight(self) -> int:
        moments = sorted(
            [(request.began, 1) for request in self.requests] + [(request.ended, -1) for request in self.requests]
        )
        most = now = 0
        for _, change in moments:
            now += change
            most = max(most, now)
        return most

    def __enter__(self) -> StubServer:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nothing to print."""


def settings(url: str) -> dict[str, Any]:
    """Arguments of an exporter that talks to `url`."""
    return {"endpoint": url, "api_key": "key-for-tests", "account_id": "account-for-tests"}


def ended_span(span_id: int, name: str = "span", **fields: Any) -> ReadableSpan:
    """A span that has ended, as an exporter gets it."""
    context = SpanContext(TRACE_ID, span_id, is_remote=False, trace_flags=TraceFlags(1))
    return ReadableSpan(
        **{"name": name, "context": context, "start_time": 1_700_000_000_000_000_000, **fields}
        | {"end_time": fields.get("end_time", 1_700_000_001_000_000_000)}
    )


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """For what another process or the network does; fails when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this did not happen in time"
        time.sleep(0.005)


@contextmanager
def nobody() -> Iterator[None]:
    """Root may read and write everything, so be somebody else for a while."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def upserts(items: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> dict[str, list[str]]:
    """By span id, which upserts came, in order: `start` or `end`."""
    by_id: dict[str, list[str]] = {}
    for item in items:
        by_id.setdefault(item["id"], []).append("end" if item.get("end_timestamp") else "start")
    return by_id
