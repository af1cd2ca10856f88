"""A web service in a process of its own: `service.py PORT [NEXT URL]`. Says "up" when it listens; signals end it.

Under the loader httpx is instrumented; the application's own side is wrapped here, as ASGI frameworks do.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import httpx
import uvicorn
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

port, next_url = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
    trace.set_tracer_provider(TracerProvider())  # traced, but by nobody that sends to SGP


async def answer(request: Request) -> PlainTextResponse:
    with trace.get_tracer("service").start_as_current_span("work"):
        if next_url:
            async with httpx.AsyncClient() as client:
                await client.get(next_url)
    return PlainTextResponse("done")


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    yield
    trace.get_tracer_provider().force_flush()  # type: ignore[attr-defined]


class Server(uvicorn.Server):
    async def startup(self, sockets: object = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]
        print("up", flush=True)


app = OpenTelemetryMiddleware(
    Starlette(routes=[Route("/", answer)], lifespan=lifespan), exclude_spans=["send", "receive"]
)
with contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises again when all is closed
    asyncio.run(Server(uvicorn.Config(app, port=port, log_level="error")).serve())
