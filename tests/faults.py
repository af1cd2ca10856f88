"""A proxy on real sockets that breaks requests on the way to a real server, and addresses where nobody answers.

    with StubServer() as server, FaultProxy(server.url, [reset_after_body, status(503)]) as proxy:
        ...  # the first request is reset, the second refused, all others pass

A fault is a function of one `Exchange`; the script says which fault the n-th request meets.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from support import StubServer


class HungUpError(Exception):
    """A fault has ended the connection."""


@dataclass
class Exchange:
    """One request, in the hands of a fault. Nothing is read beyond the head, sent on or answered by itself."""

    number: int
    """0 for the first request that the proxy saw."""
    closing: threading.Event
    """Set when the proxy goes away."""
    _client: socket.socket
    _upstream: str
    method: str
    path: str
    headers: Mapping[str, str]
    _read: Callable[[int], bytes]
    _body: bytes | None = None

    def body(self) -> bytes:
        """The body, read off the connection the first time."""
        if self._body is None:
            self._body = self._read(int(self.headers.get("content-length", "0")))
        return self._body

    def items(self) -> list[dict[str, Any]]:
        """What the request upserts."""
        items: list[dict[str, Any]] = json.loads(self.body())["items"]
        return items

    def forward(self) -> bytes:
        """Send the request on, over a connection of its own; the answer as bytes, its head included."""
        parts = urlsplit(self._upstream)
        upstream = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        with contextlib.closing(upstream):
            upstream.request(self.method, self.path, self.body(), dict(self.headers))
            answer = upstream.getresponse()
            return answer_bytes(answer.status, dict(answer.getheaders()), answer.read())

    def answer(self, answer: bytes) -> None:
        """Write to the client."""
        self._client.sendall(answer)

    def reset(self) -> None:
        """End the connection with a TCP reset: the client reads an error, not an end."""
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise HungUpError

    def hang_up(self) -> None:
        """End the connection in order, in the middle of the exchange."""
        raise HungUpError

    def close_idle(self) -> None:
        """What servers do with connections that nobody has used for a while."""
        self._client.shutdown(socket.SHUT_WR)

    @property
    def connection(self) -> int:
        """Tells one connection from another; -1 once both sides have closed it."""
        return self._client.fileno()

    def wait_for_client_to_leave(self) -> None:
        """Keep silent until the client, or the proxy, has closed the connection."""
        with contextlib.suppress(OSError):
            while self._client.recv(65536):
                pass


Fault: TypeAlias = Callable[[Exchange], None]


def passes(exchange: Exchange) -> None:
    """No fault: the server's answer, as it is."""
    exchange.answer(exchange.forward())


def reset_before_body(exchange: Exchange) -> None:
    """The connection is reset when the head has come: the server never sees the request."""
    exchange.reset()


def reset_after_body(exchange: Exchange) -> None:
    """The same once all has come: not applied, but the client cannot know."""
    exchange.body()
    exchange.reset()


def applied_then_dropped(exchange: Exchange) -> None:
    """The server applies the request, and the client is told nothing."""
    exchange.forward()
    exchange.reset()


def half_open(exchange: Exchange) -> None:
    """Everything is read, nothing is answered; the server never sees the request."""
    exchange.body()
    exchange.wait_for_client_to_leave()
    exchange.hang_up()


def applied_late(when: Callable[[], object]) -> Fault:
    """As `half_open`, but once the client has given up and `when` has returned, the server applies the request."""

    def fault(exchange: Exchange) -> None:
        exchange.body()
        exchange.wait_for_client_to_leave()
        when()
        exchange.forward()
        exchange.hang_up()

    return fault


def drips(seconds_per_byte: float) -> Fault:
    """The server's answer a byte at a time, from the status line on."""

    def fault(exchange: Exchange) -> None:
        for byte in exchange.forward():
            exchange.answer(bytes([byte]))
            if exchange.closing.wait(seconds_per_byte):
                exchange.hang_up()

    return fault


def status(code: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Fault:
    """An answer of the proxy's own; the server never sees the request."""

    def fault(exchange: Exchange) -> None:
        exchange.body()
        exchange.answer(answer_bytes(code, headers or {}, body))

    return fault


def redirects(location: str) -> Fault:
    """308, as a load balancer answers http that should be https."""
    return status(308, {"location": location})


def answer_bytes(code: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """An HTTP answer with its own framing."""
    kept = {name: value for name, value in headers.items() if name.lower() not in ("content-length", "connection")}
    lines = [f"HTTP/1.1 {code} Scripted", *(f"{name}: {value}" for name, value in kept.items())]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


@dataclass
class FaultProxy:
    """Stands on 127.0.0.1 before the server at `upstream`.

    Args:
        upstream: The server's URL.
        script: A list: the faults of the first requests, all others pass. Or a callable: the fault of the n-th.
        before_accept: Called with 0, 1, ... before each connection is accepted; may block.
    """

    upstream: str
    script: Sequence[Fault] | Callable[[int], Fault] = ()
    before_accept: Callable[[int], object] = lambda number: None
    seen: list[Exchange] = field(default_factory=list)
    """Every request whose head has come, in that order."""

    def __post_init__(self) -> None:
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._clients: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        number = 0
        while not self._closing.is_set():
            self.before_accept(number)
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._clients.append(client)
            self._run(self._serve, client)

    def _run(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name=f"fault-proxy-{target.__name__}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        # What goes wrong on a connection concerns the client: a broken pipe here is what it means to be a fault.
        with (
            client,
            client.makefile("rb") as stream,
            contextlib.suppress(OSError, HungUpError, http.client.HTTPException),
        ):
            while (exchange := self._next_exchange(client, stream.readline, stream.read)) is not None:
                self._fault(exchange.number)(exchange)
                exchange.body()  # a fault that answers before the body has come leaves it in the way of the next

    def _next_exchange(
        self, client: socket.socket, readline: Callable[[], bytes], read: Callable[[int], bytes]
    ) -> Exchange | None:
        words = readline().decode("latin-1").split()
        if len(words) != 3:
            return None
        headers = {}
        while line := readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        with self._lock:
            exchange = Exchange(
                next(self._numbers), self._closing, client, self.upstream, words[0], words[1], headers, read
            )
            self.seen.append(exchange)
        return exchange

    def _fault(self, number: int) -> Fault:
        if callable(self.script):
            return self.script(number)
        return self.script[number] if number < len(self.script) else passes

    def __enter__(self) -> FaultProxy:
        self._run(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """A URL where nobody listens. The port is kept, so that nobody else comes to listen on it."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """A URL where the kernel takes connections and requests, and nobody ever accepts them."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def unreachable() -> Iterator[str]:
    """A URL where even connecting never ends: a listener whose queue is full, so that Linux drops the SYN."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def behind(fault: Fault) -> Iterator[str]:
    """The URL of a server to which every request meets `fault`."""
    with StubServer() as server, FaultProxy(server.url, lambda number: fault) as proxy:
        yield proxy.url


@contextlib.contextmanager
def slow(seconds: float) -> Iterator[str]:
    """The URL of a server that takes as long as this for every request."""
    with StubServer(latency_seconds=seconds) as server:
        yield server.url
