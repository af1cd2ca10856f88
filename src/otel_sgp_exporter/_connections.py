"""Connections to SGP: kept, one for each thread that sends at the same time, and every wait on them with a deadline."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic  # bound here: some tests of our users freeze the one in `time`
from typing import Any

import httpcore

_CONNECT_SECONDS = 3.0
_KEEPALIVE_SECONDS = 90.0
_LOOK_SECONDS = 1.0
_LEAST_WRITE_BYTES, _MOST_WRITE_BYTES = 16 * 1024, 256 * 1024


class _Kept:
    """Of one process: all connections, and those that nobody uses at the moment, the last used last."""

    def __init__(self) -> None:
        self.all: set[httpcore.ConnectionPool] = set()
        self.idle: list[httpcore.ConnectionPool] = []
        self.looked_at = 0.0


class Connections:
    """Any number of threads may take one at the same time.

    Each is a pool for itself: one pool for all would look, under a lock, at every idle connection before and after each
    request, and for every look a thread has to wait for the interpreter.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None, proxy: httpcore.Proxy | None) -> None:
        self._ssl_context = ssl_context
        self._proxy = proxy
        # By process. After a fork, parent and child would read each other's answers. The parent's are kept in the
        # child and not closed, which would end TLS for the parent.
        self._by_process: dict[int, _Kept] = {}

    @property
    def _kept(self) -> _Kept:
        pid = os.getpid()
        return self._by_process.get(pid) or self._by_process.setdefault(pid, _Kept())

    @contextmanager
    def one(self) -> Iterator[httpcore.ConnectionPool]:
        """For one request at a time. The one that was used last: the likeliest to be open still."""
        kept = self._kept
        try:
            connection = kept.idle.pop()
        except IndexError:
            connection = self._new()
            kept.all.add(connection)
        try:
            yield connection
        except BaseException:  # some of httpcore's connections are of no use afterwards, and do not say so
            _let_go(kept, connection)
            raise
        if not connection.connections:  # the server has ended it: the next to be used is one that is open
            _let_go(kept, connection)
            return
        kept.idle.append(connection)
        now = monotonic()
        if now - kept.looked_at > _LOOK_SECONDS:
            kept.looked_at = now
            _let_go_of_expired(kept)

    def _new(self) -> httpcore.ConnectionPool:
        return httpcore.ConnectionPool(
            ssl_context=self._ssl_context,
            proxy=self._proxy,
            max_connections=1,
            keepalive_expiry=_KEEPALIVE_SECONDS,
            network_backend=_DeadlineBackend(),
            socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
        )

    def close(self) -> None:
        """Close all; those in use, too. A new request makes them anew."""
        for connection in self._kept.all.copy():
            connection.close()


def _let_go(kept: _Kept, connection: httpcore.ConnectionPool) -> None:
    kept.all.discard(connection)
    with suppress(Exception):  # the request is over, whatever becomes of its connection
        connection.close()


def _let_go_of_expired(kept: _Kept) -> None:
    """When little is sent, it is always the same one that was used last: the server closes the others, one by one."""
    with suppress(IndexError):  # others take them meanwhile
        oldest = kept.idle.pop(0)
        if any(connection.has_expired() for connection in oldest.connections):
            _let_go(kept, oldest)
        else:
            kept.idle.insert(0, oldest)


class _DeadlineStream(httpcore.NetworkStream):
    """A stream whose `timeout` arguments are deadlines of `time.monotonic`: every wait gets what is left.

    A small request goes out in one piece, head and body: after every call of the system, a thread has to wait for the
    interpreter.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._unwritten = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with suppress(httpcore.WriteError):  # a server that wants no more may have answered, and closed
            self._write_out(timeout)
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unwritten += buffer
        if len(self._unwritten) > _LEAST_WRITE_BYTES:
            self._write_out(timeout)

    def _write_out(self, timeout: float | None) -> None:
        buffer, self._unwritten = self._unwritten, b""
        for start in range(0, len(buffer), _MOST_WRITE_BYTES):
            # A write calls the system as often as it takes, and each call may wait as long as is left when it begins.
            piece = buffer[start : start + _MOST_WRITE_BYTES]
            self._stream.write(piece, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _DeadlineBackend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = min(_left(timeout, httpcore.ConnectTimeout) or _CONNECT_SECONDS, _CONNECT_SECONDS)
        return _DeadlineStream(self._backend.connect_tcp(host, port, left, local_address, socket_options))


def _left(deadline: float | None, expired: Callable[[str], Exception]) -> float | None:
    if deadline is None:
        return None
    left = deadline - monotonic()
    if left <= 0:
        raise expired("deadline passed")
    return left
