"""The processor while SGP is away, silent, misconfigured or forgetful; on real sockets."""

import logging
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, DropReason
from otel_sgp_exporter._delivery import Failed, Settled
from otel_sgp_exporter._journal import Journal
from otel_sgp_exporter._outcome import DELIVERED, Action, Verdict
from otel_sgp_exporter._record import Phase
from support import Answer, Request, StubServer, upserts, wait_until

Traced = Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]


def spans(provider: TracerProvider, count: int, name: str = "span") -> None:
    for number in range(count):
        provider.get_tracer("t").start_span(f"{name} {number}").end()


def test_silence_asked_of_one_sender_is_kept_by_all_and_ended_by_one_probe(traced: Traced) -> None:
    """Eight busy senders, a 503 with Retry-After: nobody sends before it is over, then one goes alone."""
    asked = threading.Event()

    def script(request: Request) -> Answer | None:
        if not asked.is_set():
            asked.set()
            return Answer(503, {"retry-after-ms": "600"})
        return None

    with StubServer(script, latency_seconds=0.02) as server:
        provider, processor = traced(server.url, max_export_batch_size=10, schedule_delay_millis=1)
        spans(provider, 20)
        wait_until(asked.is_set)
        wait_until(lambda: len(server.requests) > 0 and not processor._pipeline._senders.in_flight)
        before = len(server.requests)
        spans(provider, 200)
        assert processor.force_flush()
        assert processor.stats().lost == {}
        silent = next(request for request in server.requests if request.ended)
        after = sorted((r for r in server.requests[before:]), key=lambda request: request.began)
        assert after[0].began - silent.ended >= 0.5
        assert after[1].began >= after[0].ended, "the probe went alone"
        assert server.most_in_flight > 1


def test_a_wrong_key_is_said_once_and_costs_nothing_once_it_is_mended(
    traced: Traced, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records wait in the queue while one probe a minute is tried."""
    monkeypatch.setattr("otel_sgp_exporter._outcome._BLOCKED_SECONDS", 0.3)
    monkeypatch.setattr("otel_sgp_exporter._state._MAX_SILENCE_SECONDS", 0.3)  # it would grow, up to 8 s
    mended = threading.Event()
    with StubServer(lambda request: None if mended.is_set() else Answer(401, body=b'{"message":"no"}')) as server:
        provider, processor = traced(server.url, max_export_batch_size=10, schedule_delay_millis=1)
        spans(provider, 50)
        wait_until(lambda: len(server.requests) >= 10)
        assert max(later.began - sooner.ended for sooner, later in pairwise(server.requests[-2:])) > 0.2
        mended.set()
        assert processor.force_flush()
    stats = processor.stats()
    assert (stats.delivered + stats.superseded, stats.lost) == (100, {})
    lines = [record.getMessage() for record in caplog.records]
    assert sum("refuses the API key" in line for line in lines) == 1
    assert sum("takes spans again" in line for line in lines) == 1
    assert "key-for-tests" not in caplog.text


@pytest.mark.parametrize(
    ("status", "reason"), [(401, DropReason.AUTH), (404, DropReason.CONFIG), (308, DropReason.CONFIG)]
)
def test_what_a_wrong_key_or_url_kept_until_shutdown_is_lost_under_its_own_name(
    traced: Traced, caplog: pytest.LogCaptureFixture, status: int, reason: DropReason
) -> None:
    """Nobody waits at exit for someone to mend it, and the reason is not just that the process ended."""
    with StubServer(lambda request: Answer(status)) as server:
        provider, processor = traced(server.url)
        spans(provider, 3)
        began = time.monotonic()
        processor.shutdown()
        assert time.monotonic() - began < 2
    assert processor.stats().lost == {reason: 3}
    assert "Lost so far: 3 spans" in caplog.text


def test_an_outage_shorter_than_the_budget_loses_nothing_and_is_said_twice(
    traced: Traced, caplog: pytest.LogCaptureFixture
) -> None:
    """A line when it begins, a line when it is over."""
    down = threading.Event()
    down.set()
    with StubServer(lambda request: Answer(500) if down.is_set() else None) as server:
        provider, processor = traced(server.url, max_export_batch_size=5, schedule_delay_millis=1)
        spans(provider, 100)
        wait_until(lambda: len(server.requests) > 20)
        down.clear()
        assert processor.force_flush()
    stats = processor.stats()
    assert (stats.delivered + stats.superseded, stats.lost) == (200, {})
    assert ["tried again" in record.message or "takes spans again" in record.message for record in caplog.records] == [
        True,
        True,
    ]


def test_the_end_of_an_outage_is_said_once_however_many_senders_see_it(caplog: pytest.LogCaptureFixture) -> None:
    """Writing a line takes a while, and others are answered meanwhile."""
    journal = Journal()
    delivered = Settled([], DELIVERED)

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "again, after" in record.getMessage():
                journal.note(delivered, {}, 3.0)

    logger, slow = logging.getLogger("otel_sgp_exporter"), Slow()
    logger.addHandler(slow)
    try:
        journal.note(Failed([], Verdict(Action.RETRY, why="nobody there")), {}, 1.0)
        journal.note(delivered, {}, 2.0)
    finally:
        logger.removeHandler(slow)
    assert caplog.messages == [
        "SGP takes no spans at the moment, they are tried again: nobody there",
        "SGP takes spans again, after 1.0 s.",
    ]


def test_refused_spans_are_counted_each_and_said_at_powers_of_ten(
    traced: Traced, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's reason is in the line; a thousand refusals are four lines."""
    with StubServer(lambda request: Answer(422, body=b'{"detail":"the reason"}')) as server:
        provider, processor = traced(server.url, max_export_batch_size=10, start_delay_millis="off")
        spans(provider, 300)
        assert processor.force_flush() is False
    assert processor.stats().lost == {DropReason.REFUSED: 300}
    lines = [record.getMessage() for record in caplog.records]
    assert 1 <= len(lines) <= 3
    assert "the reason" in lines[0]


def test_a_start_that_was_given_up_is_not_a_loss(traced: Traced) -> None:
    """Its END brings the whole row."""

    def script(request: Request) -> Answer | None:
        return Answer(422) if any("end_timestamp" not in item for item in request.items) else None

    with StubServer(script) as server:
        provider, processor = traced(server.url)
        span = provider.get_tracer("t").start_span("span")
        processor.flush()
        span.end()
        assert processor.force_flush()
    stats = processor.stats()
    assert (stats.delivered, stats.rejected, stats.lost) == (1, 1, {})


def test_a_start_that_timed_out_is_not_sent_again_once_its_end_is_known_and_the_end_is_repeated(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may apply it late, after the END: so the END has the last word."""
    monkeypatch.setattr("otel_sgp_exporter._lanes.REASSERT_SECONDS", 1.0)
    hang = threading.Event()
    first = threading.Event()

    def script(request: Request) -> Answer | None:
        if first.is_set():
            return None
        first.set()
        return Answer(after=lambda: hang.wait(10))

    with StubServer(script) as server:
        provider, processor = traced(server.url, schedule_delay_millis=1)
        processor.span_exporter.delivery.request_seconds = 0.3
        span = provider.get_tracer("t").start_span("span")
        wait_until(first.is_set)
        span.end()
        wait_until(lambda: processor.stats().reasserted == 1)
        hang.set()
    kinds = ["end" if "end_timestamp" in item else "start" for item in server.items]
    assert kinds[:2] == ["end", "end"]
    assert kinds.count("start") <= 1, "only the attempt that hung"
    stats = processor.stats()
    assert (stats.offered, stats.delivered, stats.superseded) == (2, 1, 1)


@pytest.mark.parametrize(("refusals", "budget_millis"), [(0, 30_000), (3, 30_000), (3, 50)])
def test_shutdown_repeats_an_end_that_is_still_to_be_repeated(
    traced: Traced, refusals: int, budget_millis: float
) -> None:
    """Now or never, and until it has arrived, whatever it takes: nobody could tell that this span was lost."""
    hang, first = threading.Event(), threading.Event()
    ends: list[int] = []

    def script(request: Request) -> Answer | None:
        if not first.is_set():
            first.set()
            return Answer(after=lambda: hang.wait(10))
        ends.append(len(request.items))
        return Answer(503) if 1 < len(ends) <= 1 + refusals else None

    with StubServer(script) as server:
        provider, processor = traced(server.url, schedule_delay_millis=1, export_timeout_millis=budget_millis)
        processor.span_exporter.delivery.request_seconds = 0.3
        span = provider.get_tracer("t").start_span("span")
        wait_until(first.is_set)
        span.end()
        wait_until(lambda: processor.stats().spans_delivered == 1)
        assert processor.stats().unconfirmed == 1
        processor.shutdown()
        hang.set()
        stats = processor.stats()
    assert (stats.unconfirmed, stats.reasserted, len(ends)) == (0, 1, 2 + refusals)


@pytest.mark.parametrize("flushed", [True, False])
def test_spans_open_at_shutdown_are_closed_as_cancelled(server: StubServer, traced: Traced, flushed: bool) -> None:
    """Nothing runs for ever in SGP because its process ended; not what it learns of only then, either."""
    provider, processor = traced(server.url)
    tracer = provider.get_tracer("t")
    tracer.start_span("open", attributes={"known": "at start"})
    tracer.start_span("done").end()
    if flushed:
        processor.force_flush()
    processor.shutdown()
    assert sorted(map(tuple, upserts(server.items).values())) == [("start", "end"), ("start", "end")]
    last = server.items[-1]
    assert (last["name"], last["status"]) == ("open", "CANCELED")
    assert last["metadata"]["canceled_reason"]
    assert "at start" in str(last)


def test_memory_of_a_dead_backend_is_bounded_in_bytes(traced: Traced) -> None:
    """Whatever is offered, no more than the budget is held; STARTs go first, then ENDs, roots last."""
    few_in_flight = {"max_concurrent_exports": 1, "max_export_batch_size": 5}  # what is in flight is not given up
    provider, processor = traced("http://127.0.0.1:1", max_queue_bytes=300_000, **few_in_flight)
    tracer = provider.get_tracer("t")
    for _ in range(50):
        with tracer.start_as_current_span("root"):
            for _ in range(5):
                tracer.start_span("leaf", attributes={"prompt": "some text " * 500}).end()
    lanes = processor._pipeline._state.lanes
    assert lanes.charged_bytes <= 300_000
    stats = processor.stats()
    assert stats.lost[DropReason.QUEUE_FULL] > 0
    kept = [record for queue in lanes._all for record in queue.values() if record.phase is Phase.END]
    assert sum(record.explains_trace for record in kept) == 50
