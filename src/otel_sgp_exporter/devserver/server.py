"""The server as one object: starts in a background thread, stops with the `with` block."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from os import PathLike
from pathlib import Path
from typing import Any

import uvicorn

from .app import SpanServer
from .settings import Settings
from .store import Store


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
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def start(self) -> None:
        """Listen and serve in a background thread; OSError when the address cannot be had."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._socket = socket.create_server((self._host, self._port), family=family, backlog=2048)
        self._port = self._socket.getsockname()[1]
        self._temporary = tempfile.TemporaryDirectory(prefix="otel-sgp-")
        store = Store(self._database or Path(self._temporary.name) / "spans.sqlite", self.settings)
        self._spans = SpanServer(self.settings, store, self._host)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                self._spans.app, log_config=None, lifespan="off", ws="none", server_header=False, access_log=False,
                timeout_graceful_shutdown=1,
            )
        )  # fmt: skip
        # The socket listens already: whoever connects before the loop runs is served when it does.
        serve = self._uvicorn.serve(sockets=[self._socket])
        self._thread = threading.Thread(target=asyncio.run, args=(serve,), name="sgp-serve", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer what is in flight, for one second at most, and close everything."""
        self._uvicorn.should_exit = True
        self._thread.join()
        self._spans.close()
        self._temporary.cleanup()

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
