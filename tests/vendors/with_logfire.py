"""Logfire: `configure()` after it, and again after a second `logfire.configure()`, which throws out our processor."""

import beside
import logfire
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


def set_up() -> InMemorySpanExporter:
    memory = InMemorySpanExporter()
    logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(memory)])
    return memory


set_up()
first = beside.configured()
memory = set_up()
again = beside.configured()
assert again is not first


def names() -> list[str]:
    # It also exports what it calls pending spans, for its own live view.
    spans = [(span.name, span.attributes or {}) for span in memory.get_finished_spans()]
    return [name for name, attributes in spans if attributes.get("logfire.span_type") != "pending_span"]


beside.two_spans()
beside.assert_both_get_theirs(names)
