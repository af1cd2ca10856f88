"""Senders of others, as they are: what reaches SGP through the gateway is what the same agent would send by itself."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from otlp import Gateway

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from otel_sgp_exporter.devserver import DevServer
from support import settings

Starts = Callable[..., Gateway]
HERE = Path(__file__).parent
LOGFIRE_PYTHON = os.environ.get("PYTHON_WITH_LOGFIRE", sys.executable)
JS_PACKAGES = (
    "@opentelemetry/api",
    "@opentelemetry/sdk-trace-base",
    "@opentelemetry/exporter-trace-otlp-proto",
    "@opentelemetry/exporter-trace-otlp-http",
)


@pytest.fixture
def sgp() -> Iterator[DevServer]:
    with DevServer() as server:
        yield server


def run_agent(tracer: trace.Tracer) -> None:
    """Spans of every kind that matters: a model call, a tool that fails, events, links, a remote parent."""
    with tracer.start_as_current_span("answer", attributes={"sgp.type": "AGENT_WORKFLOW", "session.id": "s-1"}) as root:
        chat = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "a-model",
            "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Paris?"}]}]),
            "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "18"}]}]),
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 3,
        }
        with tracer.start_as_current_span("chat a-model", kind=SpanKind.CLIENT, attributes=chat) as call:
            call.add_event("progress", {"share": 0.5, "parts": ["a", "b"]})
        with tracer.start_as_current_span("tool", links=[Link(root.get_span_context())]) as tool:
            tool.record_exception(ValueError("no such city"))
            tool.set_status(Status(StatusCode.ERROR, "no such city"))
        with tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes={"http.request.method": "GET"}):
            pass
    remote = trace.SpanContext(
        5, 6, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=trace.TraceState([("sgp", "1")])
    )
    inside = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    tracer.start_span("served", context=inside, kind=SpanKind.SERVER).end()


def rows_of(sgp: DevServer) -> dict[str, dict[str, Any]]:
    """By name, without what the server adds when it stores a row."""
    stored = ("created_at", "created_by_user_id", "account_id", "updated_at")
    return {row["name"]: {key: row[key] for key in row if key not in stored} for row in sgp.spans()}


def test_the_python_exporter_brings_the_same_rows_as_direct_export(sgp: DevServer, gateway_to: Starts) -> None:
    """One agent with both processors: what SGP holds after one is what it holds after the other."""
    exporters = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    with DevServer() as direct_sgp:
        gateway = gateway_to(sgp.url)
        provider = TracerProvider(resource=Resource({"service.name": "agent"}), shutdown_on_exit=False)
        direct = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(direct_sgp.url)))
        provider.add_span_processor(direct)
        otlp = exporters.OTLPSpanExporter(f"{gateway.url}/v1/traces", compression=exporters.Compression.Gzip)
        provider.add_span_processor(BatchSpanProcessor(otlp))
        run_agent(provider.get_tracer("an.agent", "1.2"))
        provider.shutdown()
        expected, found = rows_of(direct_sgp), rows_of(sgp)
    assert {"answer", "chat a-model", "tool", "GET", "served"} == {*found}
    assert expected == found


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with OpenTelemetry's packages, from npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    folder = tmp_path_factory.mktemp("js")
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--silent", *JS_PACKAGES]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    if installed.returncode:
        pytest.skip(f"npm cannot install OpenTelemetry: {installed.stderr[-300:]}")
    return folder


@pytest.mark.parametrize("package", JS_PACKAGES[2:])
def test_the_javascript_exporters_bring_whole_rows(
    sgp: DevServer, gateway_to: Starts, javascript: Path, package: str
) -> None:
    """Protobuf and JSON, as published on npm."""
    gateway = gateway_to(sgp.url)
    subprocess.run(
        ["node", str(HERE / "js" / "send.mjs"), f"{gateway.url}/v1/traces", package],
        cwd=javascript,
        check=True,
        timeout=60,
    )
    rows = rows_of(sgp)
    assert {"answer", "chat", "tool"} == {*rows}
    assert ("AGENT_WORKFLOW", "COMPLETION") == (rows["answer"]["type"], rows["chat"]["type"])
    assert rows["chat"]["parent_id"] == rows["answer"]["id"]
    assert {"input_tokens": 7} == rows["chat"]["output"]["usage"]
    assert {"ratio": 0.5, "tags": ["a", "b"]} == {
        key: rows["chat"]["metadata"]["attributes"][key] for key in ("ratio", "tags")
    }
    assert ("ERROR", "boom") == (rows["tool"]["status"], rows["tool"]["metadata"]["error_message"])
    assert "1.2.3" == rows["tool"]["metadata"]["otel_scope_version"]


@pytest.mark.parametrize("packed", [False, True])
def test_curl_brings_json(sgp: DevServer, gateway_to: Starts, tmp_path: Path, packed: bool) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    spans = [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "by hand"}]
    spans[0] |= {"startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": "1544712661000000000"}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    (tmp_path / "body").write_bytes(gzip.compress(body) if packed else body)
    headers = ["-H", "content-type: application/json", *(["-H", "content-encoding: gzip"] if packed else [])]
    url = f"{gateway_to(sgp.url).url}/v1/traces"
    command = ["curl", "-sS", "--fail", *headers, "--data-binary", f"@{tmp_path / 'body'}", url]
    assert "{}" == subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert ["by hand"] == [*rows_of(sgp)]


def test_logfire_shows_spans_that_run(sgp: DevServer, gateway_to: Starts) -> None:
    """Its pending spans are STARTs here: the row is there, under its own id, while the span runs."""
    if subprocess.run([LOGFIRE_PYTHON, "-c", "import logfire"], capture_output=True, check=False).returncode:
        pytest.skip("needs logfire, here or in the interpreter that PYTHON_WITH_LOGFIRE names")
    program = [LOGFIRE_PYTHON, str(HERE / "logfire_sender.py"), gateway_to(sgp.url).url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(program, text=True, **pipes) as sender:  # type: ignore[call-overload]
        assert "running\n" == sender.stdout.readline()
        [running] = sgp.spans()
        sender.stdin.write("go on\n")
        sender.stdin.flush()
        assert "ended\n" == sender.stdout.readline()
        [ended] = sgp.spans()
        sender.kill()
    assert ("runs", None) == (running["name"], running["end_timestamp"])
    assert running["id"] == ended["id"]
    assert running["start_timestamp"] == ended["start_timestamp"] < ended["end_timestamp"]
    assert "why" == running["metadata"]["attributes"]["question"] == ended["metadata"]["attributes"]["question"]
