"""What the receiver answers, in the content type of the request."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from starlette.responses import Response

from .decode import Encoding
from .receipt import Rejections
from .refusal import Refusal


def taken(encoding: Encoding, rejections: Rejections) -> Response:
    """200: everything was taken but what is named here, which must not be sent again."""
    if encoding is Encoding.JSON:
        partial = {"rejectedSpans": str(rejections.count), "errorMessage": str(rejections)}
        return _response(orjson.dumps({"partialSuccess": partial} if rejections.count else {}), encoding)
    answer = ExportTraceServiceResponse()
    if rejections.count:
        partial_success = ExportTracePartialSuccess(rejected_spans=rejections.count, error_message=str(rejections))
        answer.partial_success.CopyFrom(partial_success)
    return _response(answer.SerializeToString(), encoding)


def refused(encoding: Encoding | None, refusal: Refusal) -> Response:
    """An error, with a `google.rpc.Status`; in JSON for those who do not say what they speak."""
    encoding = encoding or Encoding.JSON
    message = str(refusal)
    body = (
        orjson.dumps({"code": refusal.code, "message": message})
        if encoding is Encoding.JSON
        else _status(refusal.code, message.encode())
    )
    headers = {}
    if refusal.retry_after_seconds is not None:
        headers["retry-after"] = str(refusal.retry_after_seconds)
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return _response(body, encoding, refusal.status, headers)


def _response(body: bytes, encoding: Encoding, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, headers, encoding.value)


def _status(code: int, message: bytes) -> bytes:
    """A `google.rpc.Status` of `code` (field 1) and `message` (field 2): two fields are not worth a dependency."""
    return b"\x08" + _varint(code) + b"\x12" + _varint(len(message)) + message


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
