"""Logfire's log handler makes a span of each line: those about our own requests must not, or they would never end."""

import logging

import beside
import logfire

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import settings

processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(beside.sgp.url)))
logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[processor])
logging.basicConfig(level=logging.DEBUG, handlers=[logfire.LogfireLoggingHandler(fallback=logging.NullHandler())])
for _ in range(5):
    logging.getLogger("application").info("a line")
    assert processor.flush(5000).complete
assert [item["name"] for item in beside.sgp.items] == ["a line"] * 10, beside.sgp.items
processor.shutdown()
