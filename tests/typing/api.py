"""How users call the package; checked by mypy --strict, never run."""

from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span

from otel_sgp_exporter import (
    ConcurrentBatchSpanProcessor,
    DropReason,
    FlushResult,
    SGPSpanExporter,
    Stats,
    __version__,
    handoff,
    resume,
)

exporter: SpanExporter = SGPSpanExporter()
rotating = SGPSpanExporter(
    endpoint="https://api.egp.scale.com",
    api_key=lambda: "key",
    account_id="account",
    headers={"x-team": "agents"},
    timeout_millis=5_000,
    max_request_bytes=1_000_000,
    compression="none",
    redact=lambda item: {**item, "input": {}},
)
processor: BatchSpanProcessor = ConcurrentBatchSpanProcessor(exporter, 2048, 5000, 512, 30_000)
concurrent = ConcurrentBatchSpanProcessor(
    rotating, max_concurrent_exports=4, max_queue_bytes=1_000_000, start_delay_millis=None, spool="spool"
)
TracerProvider().add_span_processor(concurrent)
result: FlushResult = concurrent.flush(timeout_millis=1000)
lost: int | None = result.lost.get(DropReason.QUEUE_FULL)
flushed: bool = concurrent.force_flush(1000) and result.complete
stats: Stats = concurrent.stats()
provider = TracerProvider()
token: dict[str, Any] = handoff(provider.get_tracer("scope").start_span("span"))
with resume(token, tracer_provider=provider, end_on_exit=False) as resumed:
    span: Span = resumed
concurrent.shutdown()
version: str = __version__
