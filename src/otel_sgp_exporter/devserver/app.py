"""The HTTP side: the routes of the span API, and what the stand-in adds beside them under /_standin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .api import SpanApi
from .call import Call
from .codec import decode
from .counters import Counters
from .door import Door, Endpoint, json_response
from .faults import Faults, parse_fault
from .refusal import Refusal, refused
from .settings import Settings
from .store import Store
from .traces import TraceReader
from .viewer import Guard, Viewer

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class SpanServer:
    """The ASGI application and what it keeps: the store, the counters, one thread that writes and two that read."""

    def __init__(
        self, settings: Settings, store: Store, traces: TraceReader, host: str, reset: Callable[[object], None]
    ) -> None:
        self.store = store
        self.counters = Counters()
        self.faults = Faults(settings)
        self.door = Door(settings, self.counters, self.faults, reset, asyncio.Event())
        self.writing = ThreadPoolExecutor(1, "sgp-serve-write")
        self.reading = ThreadPoolExecutor(1, "sgp-serve-read")
        self._primary = settings.primary
        api_routes = self._api_routes(SpanApi(settings, store, self.counters))
        self.viewer = Viewer(traces, self.door.stopping)
        standin_routes = [*self._standin_routes(), *self.viewer.data_routes]
        guard = Middleware(Guard, settings=settings)
        routes = [
            *api_routes,
            Mount("/public", routes=api_routes),
            Mount("/_standin", routes=standin_routes, middleware=[guard]),
            self.viewer.page_route,
        ]
        starlette = Starlette(routes=routes, exception_handlers={HTTPException: _http_error, Refusal: _refusal})
        names = LOCAL_NAMES | {host.lower(), f"[{host.lower()}]", *map(str.lower, settings.allowed_hosts)}
        self.app: ASGIApp = _HostCheck(starlette, names, any_address=not _is_loopback(host))

    def stats(self, span_id: str | None = None) -> dict[str, Any]:
        """What arrived, and what became of it per span id; belongs to the reading thread."""
        writes_per_id = self.store.writes_per_id(self._primary)
        return {
            **self.counters.as_json(),
            "distinct_ids": sum(writes_per_id.values()),
            "writes_per_id": writes_per_id,
            "starts_after_end": self.store.late_starts(self._primary),
            **({} if span_id is None else {"spans": self.store.arrivals(self._primary, span_id)}),
        }

    def stop(self) -> None:
        """Let every wait and every search end; belongs to the event loop's thread."""
        self.door.stopping.set()
        self.store.interrupt()

    def close(self) -> None:
        self.writing.shutdown()
        self.reading.shutdown()
        self.viewer.close()

    def _api_routes(self, api: SpanApi) -> list[Route]:
        operations: list[tuple[str, str, Callable[[Call], bytes], Executor]] = [
            ("PUT", "/v5/spans/batch", api.upsert_batch, self.writing),
            ("POST", "/v5/spans/batch", api.create_batch, self.writing),
            ("POST", "/v5/spans", api.create, self.writing),
            ("POST", "/v5/spans/search", self._while_serving(api.search), self.reading),
            ("PATCH", "/v5/spans/{span_id:path}", api.update, self.writing),
            ("GET", "/v5/spans/{span_id:path}", api.retrieve, self.writing),
        ]
        return [
            Route(path, Endpoint(self.door, path, operation, executor), methods=[method])
            for method, path, operation, executor in operations
        ]

    def _while_serving(self, operation: Callable[[Call], bytes]) -> Callable[[Call], bytes]:
        """For what may take long: it does not begin when the server is to stop."""

        def serve(call: Call) -> bytes:
            if self.door.stopping.is_set():
                raise refused(503, "The server is stopping")
            return operation(call)

        return serve

    def _standin_routes(self) -> list[Route]:
        return [
            Route("/stats", self._get_stats),
            Route("/faults", self._get_faults),
            Route("/faults", self._add_fault, methods=["POST"]),
            Route("/faults", self._clear_faults, methods=["DELETE"]),
        ]

    async def _get_stats(self, request: Request) -> Response:
        loop = asyncio.get_running_loop()
        return json_response(await loop.run_in_executor(self.reading, self.stats, request.query_params.get("id")))

    async def _get_faults(self, request: Request) -> Response:
        return json_response([fault.as_json() for fault in self.faults.active])

    async def _add_fault(self, request: Request) -> Response:
        self.faults.active.append(parse_fault(decode(await request.body())))
        return await self._get_faults(request)

    async def _clear_faults(self, request: Request) -> Response:
        self.faults.clear()
        return await self._get_faults(request)


class _HostCheck:
    """Refuses requests whose Host header names another site: a page there could otherwise read the spans.

    With `any_address` it may be any address: unlike a name, nobody else can make one lead here.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str], any_address: bool) -> None:
        self._app = app
        self._names = names
        self._any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and not self._is_ours(self._name(scope)):
            app = json_response({"detail": "Invalid host header"}, 400)
        await app(scope, receive, send)

    def _is_ours(self, name: str) -> bool:
        return name in self._names or (self._any_address and _address(name.strip("[]")) is not None)

    @staticmethod
    def _name(scope: Scope) -> str:
        host: str = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        return host if host.endswith("]") else host.rpartition(":")[0] or host


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return json_response({"detail": error.detail}, error.status_code, dict(error.headers or {}))


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return json_response(error.body, error.status)
