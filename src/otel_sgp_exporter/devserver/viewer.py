"""The page at `/`, and what it reads from: its own paths beside the span API, for eyes on this machine only."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .door import json_response
from .fields import integer, parse_fields, string
from .refusal import invalid, refused
from .settings import Settings
from .traces import TraceReader

_PAGE = Path(__file__).with_name("page.html")
_MOST_WAIT_SECONDS = 20
_LOOK_EVERY_SECONDS = 0.1
_MOST_VERSION = 1 << 53
_INT64_DIGITS = 19
_PARAMS = {
    "after": integer(0, _MOST_VERSION),
    "before": integer(0, _MOST_VERSION),
    "account": string,
    "text": string,
    "wait": integer(0, _MOST_WAIT_SECONDS),
}

Result = TypeVar("Result")


class Viewer:
    """Serves the page and its reads; `stopping` ends every wait."""

    def __init__(self, reader: TraceReader, stopping: asyncio.Event) -> None:
        self._reader = reader
        self._stopping = stopping
        self._reading = ThreadPoolExecutor(1, "sgp-serve-page")
        self._boot = time.time_ns() // 1000
        html = _PAGE.read_bytes()
        headers = {
            "content-security-policy": _content_policy(html),
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        }
        self._page = Response(html, headers=headers, media_type="text/html")
        self.page_route = Route("/", self._get_page)
        self.data_routes = [
            Route("/traces", self._get_traces),
            Route("/traces/{trace_id:path}", self._get_trace),
            Route("/matches", self._get_matches),
            Route("/spans/{key}", self._get_span),
        ]

    def close(self) -> None:
        self._reading.shutdown()

    async def _get_page(self, request: Request) -> Response:
        return self._page

    async def _get_traces(self, request: Request) -> Response:
        """Traces written to since version `after`; with `wait`, the answer stays away until there are some."""
        params = _params(request)
        after, until = params["after"] or 0, time.monotonic() + (params["wait"] or 0)
        while await self._read(self._reader.latest) == after and time.monotonic() < until:
            if self._stopping.is_set() or await request.is_disconnected():
                break
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        found = await self._read(self._reader.summaries, after)
        # Versions do not outlive a server without a database: the page starts over when it sees another boot.
        return json_response({"boot": self._boot, "now_us": time.time_ns() // 1000, **found})

    async def _get_trace(self, request: Request) -> Response:
        params = _params(request)
        trace_id = request.path_params["trace_id"]
        return json_response(
            await self._read(self._reader.spans, params["account"] or "", trace_id, params["after"] or 0)
        )

    async def _get_matches(self, request: Request) -> Response:
        """Spans that say `text`, a portion at a time: the page stops asking when the text has changed."""
        params = _params(request)
        before = _MOST_VERSION if params["before"] is None else params["before"]
        return json_response(await self._read(self._reader.matches, params["text"] or "", params["after"] or 0, before))

    async def _get_span(self, request: Request) -> Response:
        key: str = request.path_params["key"]
        is_key = key.isascii() and key.isdigit() and len(key) < _INT64_DIGITS
        found = await self._read(self._reader.span, int(key)) if is_key else None
        if found is None:
            raise refused(404, "No such span, or it has been forgotten")
        return json_response(found)

    async def _read(self, read: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._reading, read, *arguments)


class Guard:
    """Lets a browser's page read only what its own server has, and asks for the API key where the server has one."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        headers = dict(scope["headers"])
        if _is_from_elsewhere(headers):
            app = json_response({"detail": "Not for other sites"}, 403)
        elif not self._has_key(headers.get(b"x-api-key", b"")):
            app = json_response({"message": "This server asks for its API key"}, self._settings.auth_status)
        await app(scope, receive, send)

    def _has_key(self, given: bytes) -> bool:
        wanted = self._settings.api_key
        return wanted is None or hmac.compare_digest(given, wanted.encode())


def _is_from_elsewhere(headers: dict[bytes, bytes]) -> bool:
    """Whether a browser says that a page of another site asks; older ones say it by the origin only."""
    origin = headers.get(b"origin")
    if origin is not None and origin.partition(b"://")[2] != headers.get(b"host"):
        return True
    return headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin")


def _params(request: Request) -> dict[str, Any]:
    problems: list[dict[str, Any]] = []
    params = parse_fields(_PARAMS, request.query_params, ("query",), problems)
    if problems:
        raise invalid(problems)
    return params


def _content_policy(html: bytes) -> str:
    """Only the page's own script and style, by their hashes; nothing from elsewhere, no text ever taken for HTML."""

    def source(tag: bytes) -> str:
        content = re.search(rb"<%b[^>]*>(.*?)</%b>" % (tag, tag), html, re.DOTALL)
        assert content is not None
        return f"'sha256-{base64.b64encode(hashlib.sha256(content[1]).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {source(b'script')}; style-src {source(b'style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
