"""One fault each on the way to a real server: how many requests it costs, and what has arrived in the end."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.sdk.trace import TracerProvider

from faults import (
    Fault,
    FaultProxy,
    applied_late,
    applied_then_dropped,
    drips,
    half_open,
    passes,
    reset_after_body,
    reset_before_body,
    status,
)
from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import StubServer, settings, upserts, wait_until

ONCE = (
    pytest.param(reset_before_body, id="reset before the body"),
    pytest.param(reset_after_body, id="reset after the body"),
    pytest.param(applied_then_dropped, id="applied, answer dropped"),
    pytest.param(half_open, id="half-open"),
    pytest.param(drips(5), id="drips past the deadline"),
    pytest.param(status(503), id="503"),
    pytest.param(status(503, {"retry-after": "0"}), id="503 with Retry-After 0"),
    pytest.param(status(503, {"retry-after-ms": "20"}), id="503 with retry-after-ms"),
    pytest.param(status(502, body=b"<html>Bad Gateway</html>"), id="502 from a load balancer"),
    pytest.param(status(429), id="429"),
    pytest.param(status(408), id="408"),
    pytest.param(status(425), id="425"),
)


def processor_to(url: str) -> ConcurrentBatchSpanProcessor:
    """Requests have half a second, so that silence is soon noticed."""
    return ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(url), timeout_millis=500))


def spans_of(processor: ConcurrentBatchSpanProcessor) -> Callable[[str], None]:
    """Makes a function that starts and ends a span."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("t")
    return lambda name: tracer.start_span(name).end()


@pytest.mark.parametrize("fault", ONCE)
def test_a_fault_costs_one_more_request_and_no_span(server: StubServer, fault: Fault) -> None:
    """Whatever happens to the first request once, both upserts arrive, START first, and nothing is lost."""
    with FaultProxy(server.url, [fault]) as proxy:
        processor = processor_to(proxy.url)
        spans_of(processor)("span")
        assert processor.flush(10_000).complete
        arrived = upserts(server.items)
        assert [kinds[-1] for kinds in arrived.values()] == ["end"]
        stats = processor.stats()
        assert (stats.offered, stats.pending, stats.lost) == (2, 0, {})
        processor.shutdown(1000)


def test_a_start_that_is_applied_after_its_end_does_not_stay() -> None:
    """A START whose request timed out may reach the store late, over its END: the END is asserted once more.

    A flush in between is no reason to do that before the START had its time.
    """
    with ThreadPoolExecutor() as pool:
        stays = {what: pool.submit(_stays, what) for what in ("nothing", "flushes")}
    assert {what: future.result() for what, future in stays.items()} == {
        "nothing": ["end", "start", "end"],
        "flushes": ["end", "start", "end"],
    }


def _stays(meanwhile: str) -> list[str]:
    """What arrived of a span whose START comes late, when this happens between its END and that."""
    start_may_come = threading.Event()

    def start_late(number: int) -> Fault:
        return applied_late(lambda: start_may_come.wait(10)) if number == 0 else passes

    def arrived() -> list[str]:
        (kinds,) = upserts([item for item in server.items if item["name"] == "the span"]).values()
        return kinds

    with StubServer() as server, FaultProxy(server.url, start_late) as proxy:
        processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(proxy.url), timeout_millis=500), 20)
        end_span = spans_of(processor)
        end_span("the span")
        wait_until(lambda: processor.stats().pending == 0)
        for _ in range(10):
            if meanwhile == "flushes":
                processor.force_flush()
            time.sleep(0.02)
        start_may_come.set()
        wait_until(lambda: "start" in arrived())
        with contextlib.suppress(AssertionError):
            wait_until(lambda: arrived()[-1] == "end", 8)
        processor.shutdown(1000)
    return arrived()
