"""Logfire's tail sampling around our processor: it passes no START on before it has decided to keep the trace."""

import beside
import logfire
from logfire.sampling import SamplingOptions

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import settings, upserts, wait_until

processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(beside.sgp.url)), schedule_delay_millis=1)
logfire.configure(
    send_to_logfire=False,
    console=False,
    additional_span_processors=[processor],
    sampling=SamplingOptions.level_or_duration(level_threshold="error", duration_threshold=None),
)

with logfire.span("not kept"), logfire.span("child"):
    pass
with logfire.span("kept"):
    logfire.error("a reason to keep it")
wait_until(lambda: len(beside.sgp.items) >= 4 and processor.stats().pending == 0)
assert sorted(upserts(beside.sgp.items).values()) == [["start", "end"], ["start", "end"]]
assert {item["name"] for item in beside.sgp.items} == {"kept", "a reason to keep it"}

processor.shutdown()
