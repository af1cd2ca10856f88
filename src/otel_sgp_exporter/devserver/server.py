"""The server as one object: starts in a background thread, stops with the `with` block."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import ExitStack, closing
from os import PathLike
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn

from .app import SpanServer
from .faults import Fault
from .settings import Settings
from .store import Store
from .traces import TraceReader

_BACKLOG = 2048
# Who listens everywhere is found here, too.
_REACHED_AT = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_STOP_SECONDS = 20.0
_UVICORN: dict[str, Any] = {
    "http": "h11",
    "ws": "none",
    "lifespan": "off",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "timeout_graceful_shutdown": 1,
}


class DevServer:
    """A local SGP for tests, demos and development.

    Usage: `with DevServer() as server: ... server.url ...`. Requests are answered as soon as the block is entered.

    Args:
        database: the SQLite file; None keeps the spans in a temporary file that goes away with the server.
        port: 0 picks a free one.
        settings: the fields of `Settings`, such as `profile="legacy"` or `latency_p50_millis=150`.
    """

    def __init__(
        self, database: str | PathLike[str] | None = None, *, host: str = "127.0.0.1", port: int = 0, **settings: Any
    ) -> None:
        self.settings = Settings(**settings)
        self._database = database
        self._host = host
        self._port = port

    @property
    def url(self) -> str:
        """Known once the server has started."""
        host = _REACHED_AT.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def start(self) -> None:
        """Listen and serve in a background thread; OSError when the address cannot be had."""
        with ExitStack() as undo:
            directory = undo.enter_context(TemporaryDirectory(prefix="otel-sgp-"))
            database = self._database or f"{directory}/spans.sqlite"
            store = undo.enter_context(closing(Store(database, self.settings)))
            traces = undo.enter_context(closing(TraceReader(database, self.settings.primary)))
            self._spans = undo.enter_context(closing(SpanServer(self.settings, store, traces, self._host, self._reset)))
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            listening = undo.enter_context(
                socket.create_server((self._host, self._port), family=family, backlog=_BACKLOG)
            )
            # asyncio does not do it for a socket made elsewhere; without, answers of two packets wait 40 ms.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._port = listening.getsockname()[1]
            self._uvicorn = uvicorn.Server(uvicorn.Config(self._spans.app, **_UVICORN))
            started = threading.Event()
            serve = self._serve(listening, started)
            self._thread = threading.Thread(target=asyncio.run, args=(serve,), name="sgp-serve", daemon=True)
            self._thread.start()
            started.wait()
            self._undo = undo.pop_all()

    def stop(self) -> None:
        """Answer what is in flight at once, and close everything."""
        self._loop.call_soon_threadsafe(self._spans.stop)
        self._uvicorn.should_exit = True
        self._thread.join(_STOP_SECONDS)  # a daemon: what still hangs then ends with the process
        self._undo.close()

    def __enter__(self) -> DevServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stats(self, span_id: str | None = None) -> dict[str, Any]:
        """The counters of `GET /_standin/stats`; with a span id, what is known of the spans of that id."""
        return self._spans.reading.submit(self._spans.stats, span_id).result()

    def spans(self, trace_id: str | None = None) -> list[dict[str, Any]]:
        """Every span of every account, as the API answers with it, in the order of their last writes."""
        store = self._spans.store
        arrivals = self._spans.reading.submit(store.arrivals, self.settings.primary, trace_id=trace_id).result()
        return [arrival["document"] for arrival in arrivals]

    def fault(self, **fields: Any) -> None:
        """Script what happens to matching requests, by default to the next one: the fields of `Fault`."""
        self._spans.faults.active.append(Fault(**fields))

    def clear(self) -> None:
        """Forget every span, every count and every fault: as if just started."""
        self._spans.writing.submit(self._spans.store.clear).result()
        self._spans.counters.clear()
        self._spans.faults.clear()

    async def _serve(self, listening: socket.socket, started: threading.Event) -> None:
        # The socket listens already: whoever connects now is served as soon as uvicorn is ready.
        self._loop = asyncio.get_running_loop()
        started.set()
        await self._uvicorn.serve(sockets=[listening])

    def _reset(self, client: object) -> None:
        """End the client's connection with a TCP reset."""
        for connection in list(self._uvicorn.server_state.connections):
            if getattr(connection, "client", None) == client:
                end = connection.transport.get_extra_info("socket")
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.transport.abort()
