"""Status and error of a finished span, the same for one failure whichever instrumentation saw it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from opentelemetry.trace import StatusCode

from otel_sgp_exporter._mapping._reader import Reader, text
from otel_sgp_exporter._record import START, Record

_CANCELLATIONS = ("CancelledError", "KeyboardInterrupt", "GeneratorExit")
_CANCELLED_TYPES = frozenset({"cancelled", "canceled"})
_HTTP_STATUS = ("http.response.status_code", "http.status_code")

# LangSmith and OpenInference glue repr(exception) and the traceback together.
_REPR_WITH_TRACEBACK = re.compile(r"^(\w+)\((['\"])(.*?)\2\)Traceback", re.DOTALL)
_NAMELESS = frozenset({"", "Exception", "Error"})


class Status(NamedTuple):
    """The SGP status, and the error fields of the metadata; no fields when nothing went wrong."""

    code: str
    fields: dict[str, Any]


_SUCCESS = Status("SUCCESS", {})
_ERROR = StatusCode.ERROR


def read_status(record: Record, reader: Reader) -> Status:
    """ERROR if and only if the span says so: a recorded exception may have been handled. A START knows of no error."""
    if record.phase is START:
        return _SUCCESS
    failed = record.status.status_code is _ERROR
    exception = _last_exception(record)
    if not failed and (not exception or str(exception.get("exception.escaped")).lower() != "true"):
        return _SUCCESS
    kind, message = _describe(record, reader, exception)
    cancelled = kind.endswith(_CANCELLATIONS) or text(reader.get("error.type")) in _CANCELLED_TYPES
    if not failed and not cancelled:
        return _SUCCESS
    found = {"error_type": kind, "error_message": message, "error_category": "unknown"}
    return Status("CANCELED", found) if cancelled else Status("ERROR", {"error": True, **found})


def _last_exception(record: Record) -> Mapping[str, Any]:
    for event in reversed(record.events):
        if event.name == "exception":
            return event.attributes or {}
    return {}


def _describe(record: Record, reader: Reader, exception: Mapping[str, Any]) -> tuple[str, str]:
    code = next(filter(None, (_code(reader.get(key)) for key in _HTTP_STATUS)), None)
    named = _specific(exception.get("exception.type")) or _specific(reader.get("error.type"))
    kind = (named or code or "Error").rpartition(".")[2]
    message = (
        text(exception.get("exception.message"))
        or text(reader.get("error.message"))
        or text(record.status.description)
        or (f"HTTP {code}" if code else "")
    )
    if kind == reader.get("error.type"):
        reader.use(("error.type",))
    if found := _REPR_WITH_TRACEBACK.match(message):
        return found[1] if kind in _NAMELESS else kind, found[3]
    return kind, message


def _specific(kind: Any) -> str | None:
    return kind if isinstance(kind, str) and kind not in ("", "_OTHER") else None


def _code(value: Any) -> str | None:
    return str(value) if isinstance(value, (int, str)) and value else None
