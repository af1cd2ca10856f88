"""The HTTP side: routes, and the door that every API request passes."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .api import SpanApi
from .call import Call, read_call
from .codec import encode
from .counters import Counters
from .refusal import Refusal
from .settings import Settings
from .store import Store

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_logger = logging.getLogger(__name__)


class SpanServer:
    """The ASGI application and what it keeps: the store, the counters, one thread that writes and one that reads."""

    def __init__(self, settings: Settings, store: Store, host: str) -> None:
        self.settings = settings
        self.store = store
        self.counters = Counters()
        self.writing = ThreadPoolExecutor(1, "sgp-serve-write")
        self.reading = ThreadPoolExecutor(1, "sgp-serve-read")
        api_routes = self._api_routes(SpanApi(settings, store, self.counters))
        routes = [*api_routes, Mount("/public", routes=api_routes), Route("/_standin/stats", self._stats)]
        starlette = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})
        self.app: ASGIApp = _HostCheck(starlette, LOCAL_NAMES | {host})

    def stats(self, span_id: str | None = None) -> dict[str, Any]:
        """What arrived, and what became of it per span id; belongs to the reading thread."""
        primary = self.settings.primary
        writes_per_id = self.store.writes_per_id(primary)
        return {
            **self.counters.as_json(),
            "distinct_ids": sum(writes_per_id.values()),
            "writes_per_id": writes_per_id,
            "starts_after_end": self.store.late_starts(primary),
            **({} if span_id is None else {"spans": self.store.arrivals(primary, span_id)}),
        }

    def close(self) -> None:
        self.writing.shutdown()
        self.reading.shutdown()
        self.store.close()

    def _api_routes(self, api: SpanApi) -> list[Route]:
        operations: list[tuple[str, str, Callable[[Call], bytes], Executor]] = [
            ("PUT", "/v5/spans/batch", api.upsert_batch, self.writing),
            ("POST", "/v5/spans/batch", api.create_batch, self.writing),
            ("POST", "/v5/spans", api.create, self.writing),
            ("POST", "/v5/spans/search", api.search, self.reading),
            ("PATCH", "/v5/spans/{span_id:path}", api.update, self.writing),
            ("GET", "/v5/spans/{span_id:path}", api.retrieve, self.reading),
        ]
        return [
            Route(path, self._endpoint(path, operation, executor), methods=[method])
            for method, path, operation, executor in operations
        ]

    def _endpoint(self, path: str, operation: Callable[[Call], bytes], executor: Executor) -> Callable[..., Any]:
        async def endpoint(request: Request) -> Response:
            self.counters.begin(request)
            response = Response(status_code=500)
            try:
                response = await self._answer(request, operation, executor)
            finally:
                self.counters.end(request.method, path, response.status_code)
            return response

        return endpoint

    async def _answer(self, request: Request, operation: Callable[[Call], bytes], executor: Executor) -> Response:
        try:
            call = await read_call(request, self.settings)
            self.counters.request_bytes += len(call.body)
            body = await asyncio.get_running_loop().run_in_executor(executor, operation, call)
            return Response(body, media_type="application/json")
        except Refusal as refusal:
            return _json(refusal.body, refusal.status, refusal.headers)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is there to read it
        except sqlite3.Error:
            _logger.exception("the store failed")
            return _json({"detail": "The trace store failed"}, 503, {"retry-after": "1"})

    async def _stats(self, request: Request) -> Response:
        loop = asyncio.get_running_loop()
        return _json(await loop.run_in_executor(self.reading, self.stats, request.query_params.get("id")))


class _HostCheck:
    """Refuses requests whose Host header names another site: a page there could otherwise read the spans."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and self._name(scope) not in self._names:
            app = _json({"detail": "Invalid host header"}, 400)
        await app(scope, receive, send)

    @staticmethod
    def _name(scope: Scope) -> str:
        host: str = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        return host if host.endswith("]") else host.rpartition(":")[0] or host


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(value), status, headers, "application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"detail": error.detail}, error.status_code, dict(error.headers or {}))
