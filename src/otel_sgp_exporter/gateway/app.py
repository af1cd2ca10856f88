"""The HTTP side of the gateway as one ASGI application."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from .answers import refused
from .receiver import Receiver
from .refusal import Code, Refusal

_CODES = {404: Code.NOT_FOUND, 405: Code.UNIMPLEMENTED}


def application(receiver: Receiver | None, routes: Sequence[BaseRoute]) -> ASGIApp:
    """Routes for health, and the receiver unless spans come from elsewhere."""
    traces = [Route("/v1/traces", receiver.__call__, methods=["POST"])] if receiver is not None else []
    return Starlette(routes=[*routes, *traces], exception_handlers={HTTPException: _http_error})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = "Only POST /v1/traces is served: SGP takes traces, no metrics and no logs"
    refusal = Refusal(error.status_code, _CODES.get(error.status_code, Code.INVALID_ARGUMENT), message)
    return refused(None, refusal)
