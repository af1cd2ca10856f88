"""One request as the operations see it."""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from .refusal import Refusal, refused
from .settings import Settings

# Bounds memory under every profile; what the service itself refuses is a setting.
_MOST_BODY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Call:
    account: str
    body: bytes
    span_id: str
    params: Mapping[str, str]
    project: str | None


async def read_call(request: Request, settings: Settings) -> Call:
    """The request's account, path, query and whole body; refused when the caller may not, or the body is too large."""
    account = _account(request, settings)
    body = await _body(request, settings)
    project = request.headers.get("x-project-id")
    return Call(account, body, request.path_params.get("span_id", ""), request.query_params, project)


def _account(request: Request, settings: Settings) -> str:
    key = request.headers.get("x-api-key")
    account = request.headers.get("x-selected-account-id")
    key_fits = key and (settings.api_key is None or hmac.compare_digest(key.encode(), settings.api_key.encode()))
    if not key_fits or not account or settings.account_id not in (None, account):
        raise Refusal(settings.auth_status, {"message": "Not authorized to access Account"})
    return account


async def _body(request: Request, settings: Settings) -> bytes:
    limit = _MOST_BODY_BYTES
    if settings.tracing_is_primary and settings.max_body_bytes is not None:
        limit = min(limit, settings.max_body_bytes)
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit, int(announced))
    chunks: list[bytes] = []
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received <= limit:
            chunks.append(chunk)
        elif received > _MOST_BODY_BYTES:
            break
    if received > limit:
        raise _too_large(limit, received)
    return _unpacked(b"".join(chunks), request.headers.get("content-encoding", "identity"), settings, limit)


def _unpacked(body: bytes, encoding: str, settings: Settings, limit: int) -> bytes:
    if encoding == "identity":
        return body
    if encoding != "gzip" or settings.gzip_requests != "accept":
        raise refused(415, f"Content-Encoding {encoding} is not supported")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, limit + 1)
    except zlib.error:
        raise refused(400, "The body is not gzip") from None
    if len(unpacked) > limit:
        raise _too_large(limit, 0)
    return unpacked


def _too_large(limit: int, size: int) -> Refusal:
    """Most clients read an answer when they have sent everything; one that sends far too much is not waited for."""
    headers = {"connection": "close"} if size > _MOST_BODY_BYTES else {}
    return Refusal(413, {"detail": f"Request body is larger than {limit} bytes"}, headers)
