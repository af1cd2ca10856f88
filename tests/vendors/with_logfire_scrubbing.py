"""Our processor handed to Logfire, as docs/zero-code.md has it: its scrubber has seen every END."""

import beside
import logfire
from opentelemetry import trace

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import settings, upserts

processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(beside.sgp.url)), start_delay_millis="off")
logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[processor])
with trace.get_tracer("agent").start_as_current_span("parent", attributes={"note": "my password is 1234"}):
    trace.get_tracer("agent").start_span("child").end()
assert processor.force_flush()
items = beside.sgp.items
assert list(upserts(items).values()) == [["end"], ["end"]], items
assert "Scrubbed" in str(items), items
assert "1234" not in str(items), items
processor.shutdown()
