"""`force_flush` and `shutdown` against every kind of backend: in time, and every record accounted for."""

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

from faults import (
    Exchange,
    behind,
    black_hole,
    drips,
    half_open,
    passes,
    refused,
    reset_after_body,
    slow,
    status,
    unreachable,
)
from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import settings, wait_until

GRACE_SECONDS = 0.5
SPANS = 30

SILENT: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "dripping": lambda: behind(drips(0.2)),
    "half-open": lambda: behind(half_open),
    "refusing": refused,
    "black hole": black_hole,
    "unreachable": unreachable,
    "503, Retry-After 60": lambda: behind(status(503, {"retry-after": "60"})),
    "503": lambda: behind(status(503)),
    "429, Retry-After 1": lambda: behind(status(429, {"retry-after": "1"})),
    "401": lambda: behind(status(401)),
    "308": lambda: behind(status(308, {"location": "https://127.0.0.1/"})),
}
BACKENDS = {"healthy": lambda: behind(passes), "slow": lambda: slow(2), **SILENT}
if sys.platform != "linux":
    del BACKENDS["unreachable"], SILENT["unreachable"]


def traced_to(url: str, *args: Any, **options: Any) -> tuple[Tracer, ConcurrentBatchSpanProcessor]:
    """A tracer, and the processor that sends its spans to `url`; a request may take 3 seconds."""
    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(url), timeout_millis=3000), *args, **options)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider.get_tracer("t"), processor


def assert_conserved(processor: ConcurrentBatchSpanProcessor, offered: int) -> None:
    """Every record is counted once, at this moment."""
    stats = processor.stats()
    ended = stats.delivered + stats.superseded + stats.rejected + stats.dropped + stats.spooled
    assert stats.offered == offered == ended + stats.pending, stats


def in_flight(processor: ConcurrentBatchSpanProcessor) -> int:
    """Batches that are with a sender."""
    return int(repr(processor).rpartition(" batches in flight")[0].rpartition(" ")[2])


def seconds(call: Callable[[], object]) -> float:
    """How long `call` took."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


@pytest.mark.parametrize("timeout_millis", [0, 300])
@pytest.mark.parametrize("backend", BACKENDS)
def test_flush_and_shutdown_return_in_time(backend: str, timeout_millis: int) -> None:
    """Each within its deadline and half a second, whatever the backend does; every record stays accounted for."""
    with BACKENDS[backend]() as url:
        tracer, processor = traced_to(url)
        for _ in range(SPANS):
            tracer.start_span("span").end()
        for call in (processor.force_flush, processor.shutdown, processor.shutdown, processor.force_flush):
            assert seconds(lambda call=call: call(timeout_millis)) < timeout_millis / 1000 + GRACE_SECONDS
            assert_conserved(processor, 2 * SPANS)
        tracer.start_span("too late").end()
        assert_conserved(processor, 2 * SPANS + 2)


def test_in_time_is_also_while_spans_keep_coming() -> None:
    """A flush answers for what was offered before it: whoever goes on producing does not hold it up."""
    with slow(0.02) as url:
        tracer, processor = traced_to(url)
        done = threading.Event()

        def produce() -> None:
            while not done.wait(0.001):
                tracer.start_span("span").end()

        producer = threading.Thread(target=produce)
        producer.start()
        try:
            for _ in range(5):
                assert seconds(lambda: processor.flush(5000)) < 2
                assert seconds(lambda: processor.flush(50)) < 0.05 + GRACE_SECONDS
            assert seconds(lambda: processor.shutdown(1000)) < 1 + GRACE_SECONDS
        finally:
            done.set()
            producer.join()


def test_shutdown_gives_up_a_dead_backend_after_five_seconds_and_waits_for_a_slow_one() -> None:
    """Half a minute is for backends that deliver something now and then, not for those that deliver nothing."""

    def give_up(open_backend: Callable[[], AbstractContextManager[str]]) -> float:
        with open_backend() as url:
            tracer, processor = traced_to(url)
            for _ in range(SPANS):
                tracer.start_span("span").end()
            took = seconds(processor.shutdown)
            assert_conserved(processor, 2 * SPANS)
            return took

    def deliver() -> float:
        with slow(1.4) as url:  # four requests, one after the other: more than five seconds in all
            tracer, processor = traced_to(url, max_concurrent_exports=1, max_export_batch_size=1)
            for _ in range(2):
                tracer.start_span("span").end()
            took = seconds(processor.shutdown)
            assert processor.stats().delivered == 4
            return took

    with ThreadPoolExecutor(len(SILENT) + 1) as pool:
        slow_took = pool.submit(deliver)
        took = dict(zip(SILENT, pool.map(give_up, SILENT.values()), strict=True))
        assert {backend: t for backend, t in took.items() if t > 5 + GRACE_SECONDS} == {}
        assert 5.6 < slow_took.result() < 7


def test_what_waits_for_its_turn_at_the_deadline_waits_no_longer() -> None:
    """Only what the server has in hand is still under way afterwards."""
    release, busy = threading.Event(), threading.Event()

    def late(exchange: Exchange) -> None:
        busy.set()
        release.wait(10)
        passes(exchange)

    with behind(late) as url:
        tracer, processor = traced_to(url, max_concurrent_exports=1, max_export_batch_size=1, start_delay_millis="off")
        for _ in range(10):
            tracer.start_span("span").end()
        wait_until(lambda: in_flight(processor) == 3 and busy.is_set())  # one request, two that wait for their turn
        processor.shutdown(100)
        wait_until(lambda: processor.stats().pending == 1, 2)
        release.set()
        wait_until(lambda: processor.stats().pending == 0, 5)
        assert_conserved(processor, 10)


@pytest.mark.parametrize("code", [0, 200, 401, 422, 503])
def test_what_is_in_flight_at_the_deadline_is_settled_when_its_request_ends(code: int) -> None:
    """Shutdown does not wait for it; but it does not stay pending for ever either, and no sender stays behind."""
    release = threading.Event()

    def late(exchange: Exchange) -> None:
        exchange.body()
        release.wait(10)
        (status(code, {"retry-after": "2"}) if code else reset_after_body)(exchange)

    threads_before = set(threading.enumerate())
    with behind(late) as url:
        tracer, processor = traced_to(url)
        tracer.start_span("span").end()
        wait_until(lambda: in_flight(processor) == 1)
        senders = {thread for thread in set(threading.enumerate()) - threads_before if "sgp-export" in thread.name}
        assert len(senders) == 12  # eight requests in flight, and four that encode ahead of their turn
        processor.shutdown(100)
        release.set()
        wait_until(lambda: processor.stats().pending == 0, 5)
        assert_conserved(processor, 2)
        wait_until(lambda: not any(thread.is_alive() for thread in senders), 5)
