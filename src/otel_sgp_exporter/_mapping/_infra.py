"""HTTP, databases, RPC and messaging: calls that no GenAI convention describes, under stable and older names."""

from __future__ import annotations

from typing import Any

from otel_sgp_exporter._mapping._reader import Reader
from otel_sgp_exporter._mapping._source import Source

# Any of these on a CLIENT or PRODUCER span makes it a call to something outside.
OUTSIDE_CALL = (
    "http.request.method",
    "http.method",
    "url.full",
    "rpc.system",
    "rpc.system.name",
    "db.system.name",
    "db.system",
    "messaging.system",
    "mcp.method.name",
)


def _request(reader: Reader, key: str) -> Any:
    method = "http.request.method" if reader.has("http.request.method") else "http.method"
    reader.use((method,))
    request = {"method": reader.get(method), "url": reader.get(key)}
    return {name: value for name, value in request.items() if value is not None}


def _status(reader: Reader, key: str) -> Any:
    return {"status_code": reader.get(key)}


def _query(reader: Reader, key: str) -> Any:
    return {"query": reader.get(key)}


URL = Source("url.full", _request, is_copy=False)
URL_OLD = Source("http.url", _request, is_copy=False)
STATUS = Source("http.response.status_code", _status, is_copy=False)
STATUS_OLD = Source("http.status_code", _status, is_copy=False)
QUERY = Source("db.query.text", _query, is_copy=False)
STATEMENT = Source("db.statement", _query, is_copy=False)
