"""One attempt: a PUT of encoded items, with one deadline for all of it."""

from __future__ import annotations

import encodings.idna  # noqa: F401  # else loaded on the first look-up of a host, which may be at exit
import gzip
import logging
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic  # bound here: some tests of our users freeze the one in `time`
from typing import Protocol
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx
from opentelemetry import context as otel_context

from ._config import ExporterConfig
from ._connections import Connections
from ._outcome import Reply, TransportError
from ._parse import token

_logger = logging.getLogger(__package__)

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
        ssl_context = _certificates() if config.endpoint.startswith("https:") else None
        self._connections = Connections(ssl_context, _proxy_for(config.endpoint))

    def send(self, body: Iterable[bytes], size: int, deadline: float) -> Reply:
        """See `Transport.send`. The answer is read to its end, so that the connection can be used again."""
        if self._gzip:
            body = (gzip.compress(b"".join(body), compresslevel=1),)
            size = len(body[0])
        content = _Content(body)
        headers = {**self._headers, "content-length": str(size), "x-api-key": self._current_key()}
        waits = {"connect": deadline, "read": deadline, "write": deadline, "pool": max(deadline - monotonic(), 0)}
        try:
            with (
                self._connections.one() as connection,
                connection.stream(
                    "PUT",
                    self._url,
                    headers=list(headers.items()),
                    content=iter(content),
                    extensions={"timeout": waits},
                ) as response,
            ):
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
        self._connections.close()


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
