"""Whether the gateway lives, whether it takes work, and what it counts: for probes and Prometheus, without a token."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .._outcome import Outcome
from .body import Reserve
from .counts import Counts, exposition
from .tenants import Tenants

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """The endpoints. A backend that is down makes nobody unready: senders learn of it from answers, and try again.

    Args:
        tenants: Whose pipelines are counted.
        reserve: Of bodies.
        counts: Everything else.
        complaint: Why the gateway takes no work at the moment; empty when it does.
        failure: What it will not recover from; empty while there is nothing.
    """

    def __init__(
        self,
        tenants: Tenants,
        reserve: Reserve,
        counts: Counts,
        complaint: Callable[[], str],
        failure: Callable[[], str],
    ) -> None:
        self._tenants = tenants
        self._reserve = reserve
        self._counts = counts
        self._complaint = complaint
        self._failure = failure

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/healthz", self._alive),
            Route("/readyz", self._ready),
            Route("/metrics", self._metrics),
        ]

    async def _alive(self, request: Request) -> Response:
        return _said(self._failure())

    async def _ready(self, request: Request) -> Response:
        return _said(self._failure() or self._complaint())

    async def _metrics(self, request: Request) -> Response:
        counts = Counts()
        counts.set("cpu_seconds", time.process_time())
        counts.set("reading_bytes", self._reserve.taken)
        for tenant in self._tenants.known():
            name, stats = tenant.name, tenant.pipeline.stats()  # several keys of one account have one name
            counts.add("spans", stats.offered, tenant=name)
            for outcome in Outcome:
                counts.add("records", getattr(stats, outcome.value), tenant=name, outcome=outcome.value)
            counts.add("records_pending", stats.pending, tenant=name)
            counts.add("records_in_flight", stats.in_flight, tenant=name)
            counts.add("held_bytes", stats.held_bytes, tenant=name)
            counts.add("blocked", tenant.pipeline.is_blocked, tenant=name)
        return PlainTextResponse(exposition(self._counts.read() | counts.read()), media_type=_PROMETHEUS)


def _said(complaint: str) -> Response:
    return JSONResponse({"status": complaint or "ok"}, 503 if complaint else 200)
