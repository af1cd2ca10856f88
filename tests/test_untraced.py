"""The exporter's own requests are never spans, or every export would cause another."""

from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import StubServer, settings

instrumentation = pytest.importorskip("opentelemetry.instrumentation.httpx", reason="needs the examples extra")


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    """Everything that httpx does becomes a span of this provider."""
    provider = TracerProvider(shutdown_on_exit=False)
    instrumentor = instrumentation.HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield provider
    instrumentor.uninstrument()
    provider.shutdown()


def fetches_its_key(server: StubServer) -> SGPSpanExporter:
    """An exporter whose key comes over instrumented HTTP, as from a vault."""

    def key() -> str:
        httpx.put(f"{server.url}/vault", json={"items": []})
        return "key"

    return SGPSpanExporter(**{**settings(server.url), "api_key": key})


def test_under_our_processor(server: StubServer, provider: TracerProvider) -> None:
    """Senders run with instrumentation suppressed, whatever happens in them."""
    processor = ConcurrentBatchSpanProcessor(fetches_its_key(server))
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("the only one").end()
    assert processor.force_flush()
    assert {request.path for request in server.requests} == {"/vault", "/v5/spans/batch"}
    assert {item["name"] for item in server.items} == {"the only one"}
    assert processor.stats().offered == 2


def test_under_a_stock_processor_and_by_hand(server: StubServer, provider: TracerProvider) -> None:
    """The exporter suppresses for itself, too."""
    exporter = fetches_its_key(server)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("t").start_span("the only one").end()
    assert [item["name"] for item in server.items] == ["the only one"]


def test_the_application_s_own_requests_are_spans_as_before(server: StubServer, provider: TracerProvider) -> None:
    """Only ours are suppressed."""
    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(server.url)))
    provider.add_span_processor(processor)
    httpx.put(f"{server.url}/application", json={"items": []})
    assert processor.force_flush()
    assert {item["name"] for item in server.items} == {"PUT"}
