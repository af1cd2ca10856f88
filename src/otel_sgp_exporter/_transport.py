"""One attempt: a PUT of encoded items, with one deadline for all of it."""

from __future__ import annotations

import encodings.idna  # noqa: F401  # else loaded on the first look-up of a host, which may be at exit
import gzip
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic  # bound here: some tests of our users freeze the one in `time`
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx
from opentelemetry import context as otel_context

from ._config import ExporterConfig
from ._outcome import Reply, TransportError
from ._parse import token

_logger = logging.getLogger(__package__)

_CONNECT_SECONDS = 3.0
_KEEPALIVE_SECONDS = 90.0
_SMALL_REQUEST_BYTES = 128 * 1024
_KEPT_REPLY_BYTES = 4096
_DRAINED_REPLY_BYTES = 16 * 1024 * 1024
_PROXY_SCHEMES = (b"http", b"https", b"socks5", b"socks5h")


class Transport(Protocol):
    """What delivery needs of a client. Any number of threads may send at once."""

    def send(self, body: Iterable[bytes], size: int, deadline: float) -> Reply:
        """One attempt: a body of `size` bytes in pieces, over by `deadline` (of `time.monotonic`).

        Raises TransportError when there is no answer.
        """

    def renew_key(self) -> bool:
        """The API key was refused: True if there is another one to try."""

    def close(self) -> None:
        """Let idle connections go."""


class HttpTransport:
    """`PUT /v5/spans/batch` over kept connections, as many as there are threads sending.

    httpcore, the engine of httpx, is used directly: httpx has no deadline for a request as a whole, so that a server
    that drips its answer holds a request for as long as it likes.
    """

    def __init__(self, config: ExporterConfig, user_agent: str) -> None:
        self._url = f"{config.endpoint}/v5/spans/batch"
        self._ask_for_key = config.api_key if callable(config.api_key) else None
        self._key = None if callable(config.api_key) else config.api_key
        self._gzip = config.compression == "gzip"
        self._headers = {
            "accept": "application/json",
            "content-type": "application/json",
            "user-agent": user_agent,
            "host": urlsplit(config.endpoint).netloc.rpartition("@")[2],
            **config.headers,
            "x-selected-account-id": config.account_id,
        }
        if self._gzip:
            self._headers["content-encoding"] = "gzip"
        self._ssl_context = _certificates() if config.endpoint.startswith("https:") else None
        self._proxy = _proxy_for(config.endpoint)
        # By process. After a fork, parent and child would read each other's answers from one pool. The parent's is kept
        # in the child and not closed, which would end TLS for the parent.
        self._pools: dict[int, httpcore.ConnectionPool] = {}

    def _pool(self) -> httpcore.ConnectionPool:
        pid = os.getpid()
        return self._pools.get(pid) or self._pools.setdefault(
            pid,
            httpcore.ConnectionPool(
                ssl_context=self._ssl_context,
                proxy=self._proxy,
                max_connections=None,
                max_keepalive_connections=None,
                keepalive_expiry=_KEEPALIVE_SECONDS,
                network_backend=_DeadlineBackend(),
                socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
            ),
        )

    def send(self, body: Iterable[bytes], size: int, deadline: float) -> Reply:
        """See `Transport.send`. The answer is read to its end, so that the connection can be used again."""
        if self._gzip:
            body = (gzip.compress(b"".join(body), compresslevel=1),)
            size = len(body[0])
        content = _Content(body)
        headers = {**self._headers, "content-length": str(size), "x-api-key": self._current_key()}
        try:
            with self._pool().stream(
                "PUT",
                self._url,
                headers=list(headers.items()),
                content=iter(content),
                extensions={"timeout": {"connect": deadline, "read": deadline, "write": deadline, "pool": None}},
            ) as response:
                text = _drained(response.iter_stream(), deadline)
                answered = {name.decode().lower(): value.decode("latin-1") for name, value in response.headers}
                return Reply(response.status, answered, text)
        except Exception as error:  # httpcore has a dozen kinds, and the system some more
            why = str(error) or type(error).__name__
            raise TransportError(why, body_sent=content.sent) from error

    def _current_key(self) -> str:
        key = self._key
        if key is None:
            try:
                key = self._key = token(self._ask_for_key and self._ask_for_key())
            except Exception as error:  # its text may hold a secret
                raise TransportError(f"api_key() failed: {type(error).__name__}", body_sent=False) from error
        return key

    def renew_key(self) -> bool:
        """See `Transport.renew_key`."""
        if self._ask_for_key is None:
            return False
        refused, self._key = self._key, None
        try:
            return self._current_key() != refused
        except TransportError:
            return False

    def close(self) -> None:
        """See `Transport.close`."""
        self._pool().close()


class _Content:
    """A request body that knows whether all of it was handed to the network."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body
        self.sent = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body
        self.sent = True


def _drained(stream: Iterable[bytes], deadline: float) -> str:
    kept, size = b"", 0
    for chunk in stream:
        size += len(chunk)
        if len(kept) < _KEPT_REPLY_BYTES:
            kept += chunk[:_KEPT_REPLY_BYTES]
        if size > _DRAINED_REPLY_BYTES:
            break  # leaving early closes the connection, which is cheaper than the rest
        if monotonic() > deadline:
            raise httpcore.ReadTimeout("deadline passed while reading the answer")
    return kept[:_KEPT_REPLY_BYTES].decode("utf-8", "replace")


def _certificates() -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        _logger.warning("SSL_CERT_FILE and SSL_CERT_DIR are ignored: %s", error)
        return httpx.create_ssl_context(trust_env=False)


def _proxy_for(endpoint: str) -> httpcore.Proxy | None:
    parts = urlsplit(endpoint)
    proxies = getproxies()
    url = proxies.get(parts.scheme) or proxies.get("all")
    if url is None or proxy_bypass(parts.hostname or ""):
        return None
    try:
        proxy = _proxy_at(url if "://" in url else f"http://{url}")
    except ValueError:
        proxy = None
    if proxy is None or proxy.url.scheme not in _PROXY_SCHEMES:
        _logger.warning("The proxy for %s is ignored: it must be an http://, https:// or socks5:// URL", parts.scheme)
        return None
    return proxy


def _proxy_at(url: str) -> httpcore.Proxy:
    parts = urlsplit(url)
    if parts.username is None:
        return httpcore.Proxy(url)
    return httpcore.Proxy(url, auth=(unquote_to_bytes(parts.username), unquote_to_bytes(parts.password or "")))


class _DeadlineStream(httpcore.NetworkStream):
    """A stream whose `timeout` arguments are deadlines of `time.monotonic`: every wait gets what is left.

    A small request goes out in one piece, head and body: after every call of the system, a thread has to wait for the
    interpreter.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._unwritten = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._write_out(timeout)
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if len(self._unwritten) + len(buffer) <= _SMALL_REQUEST_BYTES:
            self._unwritten += buffer
        else:
            self._write_out(timeout)
            self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def _write_out(self, timeout: float | None) -> None:
        buffer, self._unwritten = self._unwritten, b""
        if buffer:
            self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

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


@contextmanager
def untraced() -> Iterator[None]:
    """Within it, nothing that auto-instrumentation does becomes a span: else every export would cause another."""
    keys = (
        getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", None),
        getattr(otel_context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", None),
        "suppress_instrumentation",  # instrumentations older than the keys
    )
    context = otel_context.get_current()
    for key in filter(None, keys):
        context = otel_context.set_value(key, True, context)
    attached = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(attached)
