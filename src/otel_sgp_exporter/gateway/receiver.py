"""`POST /v1/traces`: OTLP/HTTP in, an answer once SGP has taken the spans."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from .answers import refused, taken
from .body import Reserve, read_body
from .counts import Counts
from .decode import Encoding, decode
from .intake import Intake
from .receipt import Receipt
from .refusal import Code, Refusal, described, unavailable
from .tenants import Tenant, Tenants

_logger = logging.getLogger(__name__)

_ENCODINGS = {encoding.value: encoding for encoding in Encoding}
_GONE = 499


@dataclass(frozen=True)
class Terms:
    """What the receiver may do for one request.

    Args:
        waits: Whether it answers when SGP has taken the spans, and not when they are queued.
        ack_seconds: How long it waits for that, before it asks the sender to come again.
        max_body_bytes: Of an unpacked body.
        body_seconds: From the end of the head to the end of the body.
        max_requests: Requests at the same time.
    """

    waits: bool
    ack_seconds: float
    max_body_bytes: int
    body_seconds: float
    max_requests: int


class Receiver:
    """The endpoint. Bodies are read and answers awaited on the event loop, spans are unpacked in one thread."""

    def __init__(self, tenants: Tenants, intake: Intake, reserve: Reserve, terms: Terms, counts: Counts) -> None:
        self._tenants = tenants
        self._intake = intake
        self._reserve = reserve
        self._terms = terms
        self._counts = counts
        self._requests = 0
        self._unpacking = ThreadPoolExecutor(1, "sgp-gateway-unpack")
        self.draining = False
        """New requests are sent away; those under way are answered."""

    async def __call__(self, request: Request) -> Response:
        encoding = _ENCODINGS.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
        self._requests += 1
        try:
            response = await self._answered(request, encoding)
        except Refusal as refusal:
            response = refused(encoding, refusal)
        except ClientDisconnect:
            response = Response(status_code=_GONE)
        except Exception as error:
            _logger.error("A request could not be answered: %s", described(error))
            response = refused(encoding, unavailable("The gateway has failed; see its log", 5))
        finally:
            self._requests -= 1
        self._counts.add("requests", code=str(response.status_code))
        if self.draining:
            response.headers["connection"] = "close"
        return response

    async def _answered(self, request: Request, encoding: Encoding | None) -> Response:
        if self.draining:
            raise unavailable("The gateway is shutting down")
        if self._requests > self._terms.max_requests:
            raise unavailable("The gateway serves as many requests as it may")
        tenant = self._tenants.tenant_of(request.headers)
        if encoding is None:
            allowed = " or ".join(_ENCODINGS)
            raise Refusal(415, Code.INVALID_ARGUMENT, f"Content-Type must be {allowed}")
        if self._announced(request) > self._terms.max_body_bytes:
            raise Refusal(413, Code.RESOURCE_EXHAUSTED, f"The body has more than {self._terms.max_body_bytes} bytes")
        settled = asyncio.Event()
        receipt = await self._received(request, tenant, encoding, settled)
        if self._terms.waits and not receipt.is_settled:
            await self._wait(settled)
        if receipt.undelivered is not None:
            raise unavailable(f"SGP has not taken the spans ({receipt.undelivered.value}): send them again", 2)
        self._counts.add("spans_rejected", receipt.rejections.count)
        return taken(encoding, receipt.rejections)

    async def _received(self, request: Request, tenant: Tenant, encoding: Encoding, settled: asyncio.Event) -> Receipt:
        """The body is gone when this returns: what is awaited then is only its records."""
        done = _from_any_thread(settled) if self._terms.waits else None
        packing = request.headers.get("content-encoding", "")
        terms = self._terms
        with self._reserve.share() as share:
            body = await read_body(_chunks(request), packing, share, terms.max_body_bytes, terms.body_seconds)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._unpacking, self._take, tenant, body, encoding, done)

    async def _wait(self, settled: asyncio.Event) -> None:
        try:
            await asyncio.wait_for(settled.wait(), self._terms.ack_seconds)
        except asyncio.TimeoutError:
            why = f"SGP has not taken the spans within {self._terms.ack_seconds:g} s: send them again"
            raise unavailable(why, 2) from None

    @staticmethod
    def _announced(request: Request) -> int:
        announced = request.headers.get("content-length", "")
        return int(announced) if announced.isdigit() else 0

    def _take(self, tenant: Tenant, body: bytes, encoding: Encoding, done: Callable[[], object] | None) -> Receipt:
        """In the one thread that unpacks."""
        self._counts.add("bytes", len(body))
        return self._intake.take(tenant, decode(body, encoding), done)

    def close(self) -> None:
        """No request is under way any more."""
        self._unpacking.shutdown()


def _from_any_thread(event: asyncio.Event) -> Callable[[], object]:
    loop = asyncio.get_running_loop()

    def done() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(event.set)

    return done


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk
