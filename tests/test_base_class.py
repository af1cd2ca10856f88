"""What the SDK's base class does must not happen here, and what the SDK looks for must be found."""

import inspect
import threading

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import StubServer, settings


def methods(kind: type) -> set[str]:
    """Its own, without those that only its constructor uses."""
    found = {name for name in vars(kind) if callable(getattr(kind, name))}
    return {name for name in found if not name.startswith(("__", "_default", "_validate"))}


def test_no_method_of_the_stock_processor_is_left() -> None:
    """They all use an engine that is not there."""
    stock = {"__init__", "span_exporter"} | methods(SpanProcessor) | methods(BatchSpanProcessor)
    assert stock - set(vars(ConcurrentBatchSpanProcessor)) == set()


def test_the_stock_engine_is_never_made() -> None:
    """Neither its thread nor its hook for forks: nothing runs before there is a span."""
    before = set(threading.enumerate())
    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings("http://127.0.0.1:1")))
    assert set(threading.enumerate()) - before == set()
    assert not hasattr(processor, "_batch_processor")
    processor.shutdown()


def test_the_sdk_hands_its_timeout_to_the_exporter() -> None:
    """It does so only where it finds the parameter in the signature, positional and under this very name."""
    for method in (SGPSpanExporter.shutdown, SGPSpanExporter.force_flush, ConcurrentBatchSpanProcessor.shutdown):
        assert "timeout_millis" in inspect.getfullargspec(method).args


class Deaf(SpanProcessor):
    """Says nothing when it is flushed, or no."""

    def __init__(self, answer: bool | None) -> None:
        self.answer = answer

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self.answer  # type: ignore[return-value]


@pytest.mark.parametrize("answer", [None, False])
def test_our_own_flush_needs_no_provider(server: StubServer, answer: bool | None) -> None:
    """A provider may stop at a processor before ours that does not say yes; `flush` does not go through it."""
    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(server.url)), schedule_delay_millis=600_000)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Deaf(answer))
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("span").end()
    provider.force_flush()
    assert processor.flush().complete
    assert len(server.items) == 2
    provider.shutdown()


def test_tail_samplers_are_asked_to_hold_starts_back() -> None:
    """Logfire's looks for this; `make test-vendors` proves it with the real one. Others would leave ghosts behind."""
    assert ConcurrentBatchSpanProcessor.tail_sampling_defer_on_start is True
