"""What the scripts beside this one share: a vendor's collector and SGP on this machine, and who got which span."""

from __future__ import annotations

import gzip
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from opentelemetry import propagate, trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, configure
from support import StubServer, settings, upserts

sgp = StubServer()
# Threads are daemons if their maker is one: the server's must not keep a script that failed.
_starter = threading.Thread(target=sgp.__enter__, daemon=True)
_starter.start()
_starter.join()


class Collector:
    """Takes OTLP over HTTP at any path, and remembers the names of the spans."""

    def __init__(self) -> None:
        self.names: list[str] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path.endswith("traces"):
                    collector.take(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815  # the name that the server looks for

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for resource_spans in request.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                self.names += [span.name for span in scope_spans.spans]


def configured() -> ConcurrentBatchSpanProcessor:
    """`configure()`, twice, towards the stub."""
    processor = configure(**settings(sgp.url))
    assert processor is not None
    assert configure() is processor
    return processor


def two_spans(scope: str = "agent") -> None:
    """A parent and a child, of the kind that vendors for language models let through; the child sends a request."""
    tracer = trace.get_tracer(scope)
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "openinference.span.kind": "LLM"}
    with (
        tracer.start_as_current_span("parent", attributes=attributes),
        tracer.start_as_current_span("child", attributes=attributes) as child,
    ):
        headers: dict[str, str] = {}
        propagate.inject(headers)
    marked = f"sgp={child.get_span_context().span_id:016x}"
    assert headers.get("tracestate", "").startswith(marked), f"outgoing requests are not marked: {headers}"


def assert_both_get_theirs(theirs: Callable[[], list[str]]) -> None:
    """START and END of both spans at SGP, once; both spans at the vendor, once."""
    provider = trace.get_tracer_provider()
    provider.force_flush()  # type: ignore[attr-defined]
    assert_sgp_got_both()
    assert sorted(theirs()) == ["child", "parent"], f"the vendor got {theirs()}"
    provider.shutdown()  # type: ignore[attr-defined]


def assert_sgp_got_both() -> None:
    """START and END of both spans, once."""
    ours = sorted(upserts(sgp.items).values())
    assert ours == [["start", "end"], ["start", "end"]], f"SGP got {ours}"
