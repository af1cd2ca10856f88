"""The processor's own metrics."""

import gc
import weakref
from collections.abc import Callable

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import Answer, Request, StubServer, settings, wait_until

Traced = Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]


def collected(reader: InMemoryMetricReader) -> dict[str, dict[str | None, float]]:
    """By metric and `error.type`: the value, or the count of a histogram."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: {
            point.attributes.get("error.type"): getattr(point, "value", None) or getattr(point, "count", 0)
            for point in metric.data.data_points
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_the_ledger_is_reported_under_the_names_of_the_semantic_conventions(traced: Traced) -> None:
    """Spans count once, by what became of their END; attempts have a duration."""

    def script(request: Request) -> Answer | None:
        return Answer(422) if "bad" in request.names else None

    reader = InMemoryMetricReader()
    with StubServer(script) as server:
        provider, processor = traced(server.url, meter_provider=MeterProvider([reader]))
        for name in ("good", "bad", "good"):
            provider.get_tracer("t").start_span(name).end()
        processor.force_flush()
    metrics = collected(reader)
    assert metrics["otel.sdk.processor.span.processed"] == {None: 2, "refused": 1}
    assert metrics["otel.sdk.exporter.span.exported"] == {None: 2, "refused": 1}
    assert metrics["otel.sdk.processor.span.queue.capacity"] == {None: 20_000}
    assert metrics["otel.sdk.processor.span.queue.size"] == {None: 0}
    assert metrics["sgp.exporter.record.delivered"] == {None: processor.stats().delivered}
    durations = metrics["otel.sdk.exporter.operation.duration"]
    assert sum(durations.values()) == len(server.requests)
    assert durations["422"] > 0


def test_a_processor_that_is_gone_is_reported_no_more(server: StubServer) -> None:
    """A meter never forgets what it asks; what it asked of a processor must not keep alive all that it held."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(server.url)), meter_provider=meters)
    assert collected(reader)["sgp.exporter.concurrency"]
    processor.shutdown()
    gone = weakref.ref(processor._pipeline)
    del processor
    wait_until(lambda: bool(gc.collect() or gone() is None))
    assert reader.get_metrics_data() is None


def test_a_broken_meter_provider_costs_the_metrics_only(
    traced: Traced, server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Spans are delivered all the same, and one line says what is missing."""

    class Broken(NoOpMeterProvider):
        def get_meter(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            raise RuntimeError("broken")

    provider, processor = traced(server.url, meter_provider=Broken())
    provider.get_tracer("t").start_span("span").end()
    assert processor.force_flush()
    assert len(caplog.records) == 1
