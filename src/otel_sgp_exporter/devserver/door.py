"""The door that every API request passes: counted, checked, perhaps struck by a fault, served, delayed, answered."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .call import Call, read_call
from .codec import encode
from .counters import Counters
from .faults import Fault, Faults
from .refusal import Refusal, invalid, problem
from .settings import Settings

RESET = 0
"""The status under which a request is counted whose connection was reset instead of answered."""
_GONE = 499
_WITHOUT_BODY = (204, 304)
_DRIP_BYTES = 16
_NO_FAULT = Fault()

_logger = logging.getLogger(__name__)


@dataclass
class Door:
    """What all API requests share.

    `reset` ends the connection of a client's (host, port) without an answer. `stopping` cuts every delay short.
    """

    settings: Settings
    counters: Counters
    faults: Faults
    reset: Callable[[object], None]
    stopping: asyncio.Event


class Endpoint:
    """One operation behind the door, run by the executor it belongs to."""

    def __init__(self, door: Door, path: str, operation: Callable[[Call], bytes], executor: Executor) -> None:
        self._door = door
        self._path = path
        self._operation = operation
        self._executor = executor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        counters = self._door.counters
        counters.begin(request, self._path)
        try:
            response = await self._answer(request)
            # Counted before it is sent, so that whoever has the answer finds it counted.
            counters.statuses[RESET if response is None else response.status_code] += 1
            if response is not None:
                await response(scope, receive, send)
        finally:
            counters.end(request)

    async def _answer(self, request: Request) -> Response | None:
        """The answer, when it is due; None when there is to be none and the connection has been reset."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._door.faults.latency_seconds(request.method)
        try:
            call = await read_call(request, self._door.settings)
        except Refusal as refusal:
            return json_response(refusal.body, refusal.status, refusal.headers)
        except ClientDisconnect:
            return Response(status_code=_GONE)
        self._door.counters.request_bytes += len(call.body)
        fault = self._door.faults.next(request.method, call.account, loop.time()) or _NO_FAULT
        response = Response()
        if fault.serves:
            response = await self._serve(call)
            await self._pause(request, due - loop.time())
        await self._pause(request, fault.delay_millis / 1000)
        if fault.reset:
            self._door.reset(request.client)
            await _disconnected(request)
            return None
        if fault.status is not None:
            body = b"" if fault.status in _WITHOUT_BODY else encode(fault.body)
            response = Response(body, fault.status, fault.headers, "application/json")
        if fault.drip_millis:
            return _Dripping(response, lambda: self._pause(request, fault.drip_millis / 1000))
        return response

    async def _serve(self, call: Call) -> Response:
        try:
            body = await asyncio.get_running_loop().run_in_executor(self._executor, self._operation, call)
            return Response(body, media_type="application/json")
        except Refusal as refusal:
            return json_response(refusal.body, refusal.status, refusal.headers)
        except (UnicodeError, RecursionError) as error:
            unreadable = invalid([problem("json_invalid", ("body",), str(error), {})])
            return json_response(unreadable.body, unreadable.status)
        except sqlite3.Error:
            if not self._door.stopping.is_set():  # which interrupts what is under way
                _logger.exception("the store failed")
            return json_response({"detail": "The trace store failed"}, 503, {"retry-after": "1"})
        except Exception:
            _logger.exception("%s failed", self._path)
            return json_response({"detail": "Internal Server Error"}, 500)

    async def _pause(self, request: Request, seconds: float) -> bool:
        """Wait, but not for a client that has gone nor past the end of the server; False when cut short."""
        if seconds <= 0:
            return True
        waits = [asyncio.ensure_future(wait) for wait in (self._door.stopping.wait(), _disconnected(request))]
        done, pending = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()
        return not done


class _Dripping(Response):
    """Another response, its body sent in small pieces with `pause` between them."""

    def __init__(self, response: Response, pause: Callable[[], Awaitable[bool]]) -> None:
        super().__init__(response.body, response.status_code, dict(response.headers))
        self._pause = pause

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        pieces = [bytes(self.body[start : start + _DRIP_BYTES]) for start in range(0, len(self.body), _DRIP_BYTES)]
        goes_on = True
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            goes_on = goes_on and await self._pause()
        await send({"type": "http.response.body", "body": b""})


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(value), status, headers, "application/json")


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
