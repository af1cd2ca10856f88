"""The whole path on a real socket: every span arrives twice, in order, over many requests in flight."""

from collections import defaultdict

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import Request, StubServer, settings, upserts

SPANS = 2000
IN_FLIGHT = 8


@pytest.fixture(scope="module")
def served() -> StubServer:
    """2,000 spans, some nested, sent to a server that takes 150 ms for each request."""
    with StubServer(latency_seconds=0.15) as server:
        processor = ConcurrentBatchSpanProcessor(
            SGPSpanExporter(**settings(server.url)), max_export_batch_size=50, max_concurrent_exports=IN_FLIGHT
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        tracer = provider.get_tracer("test")
        for number in range(SPANS // 4):
            with tracer.start_as_current_span(f"root {number}"), tracer.start_as_current_span("child"):
                for _ in range(2):
                    tracer.start_span("leaf").end()
        provider.shutdown()
        stats = processor.stats()
        assert (stats.offered, stats.delivered, stats.pending) == (2 * SPANS, 2 * SPANS, 0)
    return server


def test_every_span_is_upserted_twice_start_first(served: StubServer) -> None:
    """However short a span is, its START and its END both arrive."""
    arrived = upserts(served.items)
    assert len(arrived) == SPANS
    assert set(map(tuple, arrived.values())) == {("start", "end")}


def test_no_start_request_begins_after_or_overlaps_its_end(served: StubServer) -> None:
    """The request with the START is over before the request with the END of that span begins."""
    requests: dict[str, list[Request]] = defaultdict(list)
    for request in served.requests:
        for item in request.items:
            requests[item["id"]].append(request)
    violations = [span for span, (start, end) in requests.items() if start.ended > end.began]
    assert violations == []


def test_requests_overlap_up_to_the_bound_and_never_beyond(served: StubServer) -> None:
    """`max_concurrent_exports` is reached, and is the most."""
    assert served.most_in_flight == IN_FLIGHT


def test_connections_are_kept(served: StubServer) -> None:
    """There is one connection for each request in flight, not one for each request."""
    assert len({request.port for request in served.requests}) <= IN_FLIGHT


def test_the_headers_are_those_of_the_api(served: StubServer) -> None:
    """Key, account and an agent of our own, on every request."""
    for request in served.requests:
        assert request.path == "/v5/spans/batch"
        assert request.headers["x-api-key"] == "key-for-tests"
        assert request.headers["x-selected-account-id"] == "account-for-tests"
        assert request.headers["user-agent"].startswith("otel-sgp-exporter/")
