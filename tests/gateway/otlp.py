"""OTLP requests to send, ways to send them, and gateways to send them to."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import needed  # noqa: F401  # before what it asks for
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_sgp_exporter.gateway.serve import Gateway
from otel_sgp_exporter.gateway.settings import GatewaySettings, add_arguments, settings_of

MAIN = "from otel_sgp_exporter._cli import main; raise SystemExit(main())"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
TRACE_ID = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")
START_NS = 1_700_000_000_000_000_000


def span(number: int = 1, name: str = "span", **fields: Any) -> Span:
    """A span that has taken a second, unless told otherwise."""
    given = {
        "trace_id": TRACE_ID,
        "span_id": number.to_bytes(8, "big"),
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + 1_000_000_000,
        "kind": Span.SPAN_KIND_INTERNAL,
    }
    return Span(name=name, **{**given, **fields})


def request_of(*spans: Span, resource: Mapping[str, str] | None = None) -> ExportTraceServiceRequest:
    """One request with one resource and one scope."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(attributes(resource or {"service.name": "test"}))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "tests"
    scope_spans.spans.extend(spans)
    return request


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


def any_value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, (list, tuple)):
        return AnyValue(array_value=ArrayValue(values=[any_value(each) for each in value]))
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=attributes(value)))
    field = {str: "string_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
    return AnyValue() if value is None else AnyValue(**{field[type(value)]: value})


class Answered(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def response(self) -> ExportTraceServiceResponse:
        return ExportTraceServiceResponse.FromString(self.body)


def post(url: str, body: bytes, *, path: str = "/v1/traces", method: str = "POST", **headers: str) -> Answered:
    """One request over a connection of its own; `_` in the names of headers stands for `-`."""
    given = {"content-type": PROTOBUF, **{name.replace("_", "-"): value for name, value in headers.items()}}
    parts = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)) as connection:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return Answered(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def send(url: str, *spans: Span, **headers: str) -> Answered:
    """The spans in one request."""
    return post(url, request_of(*spans).SerializeToString(), **headers)


def settings(*arguments: str, **changed: Any) -> GatewaySettings:
    """As from the command line, on a free port; `changed` fields have no option of their own."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return replace(settings_of(parser.parse_args(["--port", "0", "--drain-timeout", "5", *arguments])), **changed)


def environment(sgp_url: str) -> dict[str, str]:
    """Of a gateway that delivers there."""
    return {
        "OTEL_EXPORTER_SGP_ENDPOINT": sgp_url,
        "OTEL_EXPORTER_SGP_API_KEY": "key-for-tests",
        "OTEL_EXPORTER_SGP_ACCOUNT_ID": "account-for-tests",
    }


@contextlib.contextmanager
def running(*arguments: str, env: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`otel-sgp gateway` in a process of its own, killed at the end if it still runs; and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "gateway", "--port", "0", *arguments],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2] / "src"), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stdout.readline()  # type: ignore[union-attr]
        assert "health and metrics at " in said, said + process.communicate()[1]
        yield process, said.partition("health and metrics at ")[2].partition("/readyz")[0]
    finally:
        process.kill()
        process.communicate()


__all__ = ["Gateway"]
