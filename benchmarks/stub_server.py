"""A backend for benchmarks, in a process of its own: takes spans of any kind, waits, answers, remembers when.

    python benchmarks/stub_server.py [--latency zero|fixed:MILLIS|lognormal:P50:P95] [--keep-bodies]
                                     [--capacity N --over wait|slow|429|503]

Every path is taken, `/v5/spans/batch` of SGP and `/v1/traces` of OTLP, at the same cost: bodies are put aside unread.
It prints its port, then, when its standard input is closed, one line of JSON with what it saw.

`--capacity N` makes a backend that has had enough at N requests: beyond it they `wait` in a queue, or make each other
`slow` (n at a time take (n / N)^2 times as long, so that pushing harder gets less done), or are refused.
"""

import argparse
import asyncio
import json
import math
import random
import sys
import time
from collections import deque
from collections.abc import Callable

from stub_records import Request, report

PROTOBUF = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
JSON = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 28\r\n\r\n{"object":"list","items":[]}'
REFUSALS = {
    429: b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n",
    503: b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
}
BUFFER_BYTES = 1 << 18
P95_SIGMAS = 1.645


def latency(text: str) -> Callable[[], float]:
    """`zero`, `fixed:150` or `lognormal:150:330` (p50, p95), in milliseconds, to a source of seconds."""
    kind, *millis = text.split(":")
    if kind == "zero":
        return lambda: 0.0
    p50, *p95 = (float(value) / 1000 for value in millis)
    if kind == "fixed":
        return lambda: p50
    source, sigma = random.Random(1), math.log(p95[0] / p50) / P95_SIGMAS
    return lambda: source.lognormvariate(math.log(p50), sigma)


class Stub:
    """Decides when, and with what, a request is answered."""

    def __init__(self, latency: Callable[[], float], capacity: int, over: str, keep_bodies: bool) -> None:
        self.keep_bodies = keep_bodies
        self.requests: list[Request] = []
        self._latency = latency
        self._capacity = capacity
        self._over = over
        self._in_flight = 0
        self._waiting: deque[tuple[Connection, Request]] = deque()

    def arrived(self, connection: "Connection", request: Request) -> None:
        self.requests.append(request)
        if self._in_flight < self._capacity or self._over == "slow":
            self._serve(connection, request)
        elif self._over == "wait":
            self._waiting.append((connection, request))
        else:
            request.status = int(self._over)
            self._answer(connection, request)

    def _serve(self, connection: "Connection", request: Request) -> None:
        self._in_flight += 1
        seconds = self._latency() * max(1.0, self._in_flight / self._capacity) ** 2
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._served, connection, request)
        else:
            self._served(connection, request)

    def _served(self, connection: "Connection", request: Request) -> None:
        self._in_flight -= 1
        self._answer(connection, request)
        if self._waiting:
            self._serve(*self._waiting.popleft())

    def _answer(self, connection: "Connection", request: Request) -> None:
        request.answered = time.monotonic()
        connection.answer(REFUSALS.get(request.status) or (PROTOBUF if request.is_otlp else JSON))


class Connection(asyncio.BufferedProtocol):
    """Reads requests into one buffer that is kept; no pipelining."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._buffer = bytearray(BUFFER_BYTES)
        self._filled = 0
        self._head = self._end = 0  # where the body begins and ends; 0 until the head is here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._end > len(self._buffer):
            self._buffer[:], self._buffer = b"", self._buffer[: self._filled] + bytearray(self._end - self._filled)
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if not self._end:
            self._read_head()
        if self._end and self._filled >= self._end:
            body = memoryview(self._buffer)[self._head : self._end]
            request = Request(self._is_otlp, body, keep=self._stub.keep_bodies)
            self._filled = self._head = self._end = 0
            self._stub.arrived(self, request)

    def _read_head(self) -> None:
        end = self._buffer.find(b"\r\n\r\n", 0, self._filled)
        if end >= 0:
            head = bytes(self._buffer[:end]).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._is_otlp = b"/v1/traces" in head.partition(b"\r\n")[0]
            self._head = end + 4
            self._end = self._head + int(length or 0)

    def answer(self, reply: bytes) -> None:
        self._transport.write(reply)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--latency", default="fixed:150", type=latency)
    parser.add_argument("--capacity", default=10**9, type=int)
    parser.add_argument("--over", default="wait", choices=["wait", "slow", "429", "503"])
    parser.add_argument("--keep-bodies", action="store_true", help="tell START from END, span by span")
    arguments = parser.parse_args()
    stub = Stub(arguments.latency, arguments.capacity, arguments.over, arguments.keep_bodies)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", 0, backlog=128)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps(report(stub.requests)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
