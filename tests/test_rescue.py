"""The processor with a spool: what an outage or the end of the process left behind arrives later."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from otel_sgp_exporter._lanes import REASSERT_SECONDS
from otel_sgp_exporter._record import Phase, snapshot
from otel_sgp_exporter._spool import Spool
from support import Answer, Request, StubServer, ended_span, settings, upserts, wait_until

Traced = Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]


def down(request: Request) -> Answer:
    return Answer(503)


def test_ends_that_shutdown_could_not_deliver_are_spooled_and_sent_by_the_next_process(
    traced: Traced, tmp_path: Path
) -> None:
    """The next processor sends them after its first success."""
    with StubServer(down) as server:
        provider, processor = traced(server.url, spool=tmp_path)
        for number in range(30):
            provider.get_tracer("t").start_span(f"kept {number}").end()
        processor.shutdown(1000)
        stats = processor.stats()
        assert (stats.spooled, stats.lost, stats.pending) == (30, {}, 0)
        server._script = lambda request: None
        server.requests.clear()
        provider, processor = traced(server.url, spool=tmp_path)
        provider.get_tracer("t").start_span("new").end()
        wait_until(lambda: sum(name.startswith("kept") for name in (i["name"] for i in server.items)) == 30)
        assert processor.force_flush()
        assert {tuple(arrived) for arrived in upserts(server.items).values()} == {("end",), ("start", "end")}


def leave_behind(server: StubServer, directory: Path, count: int) -> None:
    """As a process that has ended."""
    exporter = SGPSpanExporter(**settings(server.url))
    left = [snapshot(Phase.END, ended_span(1000 + number, "left behind")) for number in range(count)]
    ends = [end for end in left if end is not None]
    for end in ends:
        exporter.delivery.seal(end)
    assert exporter.spool_in(directory).keep(ends) == ends


def test_a_process_that_is_never_idle_sends_them_too(traced: Traced, server: StubServer, tmp_path: Path) -> None:
    """Between its own batches: in a service there is always a span that lingers."""
    leave_behind(server, tmp_path, 1)
    provider, _ = traced(server.url, schedule_delay_millis=50, spool=tmp_path)

    def has_arrived() -> bool:
        provider.get_tracer("t").start_span("span").end()
        return any("left behind" in request.names for request in server.requests)

    wait_until(has_arrived)


def test_ends_whose_budget_is_spent_are_spooled(traced: Traced, tmp_path: Path) -> None:
    """An outage longer than the retries costs no END."""
    with StubServer(down) as server:
        provider, processor = traced(server.url, export_timeout_millis=300, spool=tmp_path)
        provider.get_tracer("t").start_span("kept").end()
        result = processor.flush(5000)
        assert (result.pending, result.lost) == (0, {})
        assert processor.stats().spooled == 1


def test_without_a_spool_they_are_lost_and_counted(traced: Traced) -> None:
    """The spool is what makes the difference."""
    with StubServer(down) as server:
        provider, processor = traced(server.url, export_timeout_millis=300)
        provider.get_tracer("t").start_span("lost").end()
        result = processor.flush(5000)
        assert sum(result.lost.values()) == 1


def test_no_key_reaches_the_disk(traced: Traced, tmp_path: Path) -> None:
    """What is spooled are spans."""
    with StubServer(down) as server:
        provider, processor = traced(server.url, spool=tmp_path)
        provider.get_tracer("t").start_span("kept").end()
        processor.shutdown(500)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert files
    assert not any(b"key-for-tests" in path.read_bytes() for path in files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


@pytest.mark.parametrize("spool", ["/proc/nowhere", "/dev/null/file"])
def test_a_spool_that_cannot_be_written_costs_nothing_else(traced: Traced, server: StubServer, spool: str) -> None:
    """Spans are delivered as without one."""
    provider, processor = traced(server.url, spool=spool)
    provider.get_tracer("t").start_span("span").end()
    assert processor.force_flush()


def test_what_is_in_flight_when_the_deadline_comes_is_on_disk_before_shutdown_returns(
    traced: Traced, tmp_path: Path
) -> None:
    """The process may be gone before a sender comes back."""
    release = threading.Event()
    with StubServer(lambda request: Answer(after=lambda: release.wait(20))) as server:
        provider, processor = traced(server.url, max_export_batch_size=10, start_delay_millis="off", spool=tmp_path)
        for number in range(100):
            provider.get_tracer("t").start_span(f"kept {number}").end()
        wait_until(lambda: len(server.arrived) == 8)
        processor.shutdown(1000)
        assert sum(processor.span_exporter.spool_in(tmp_path).counts().values()) == 100
        release.set()


def test_an_end_that_waits_for_its_start_is_sent_by_nobody_while_that_may_still_arrive(
    traced: Traced, tmp_path: Path
) -> None:
    """Else the START, which the server has in hand, would land on it: the span would show as running for good."""
    release = threading.Event()
    with StubServer(lambda request: Answer(after=lambda: release.wait(20))) as server:
        provider, processor = traced(server.url, spool=tmp_path)
        span = provider.get_tracer("t").start_span("span")
        wait_until(lambda: len(server.arrived) == 1)
        span.end()
        processor.shutdown(1000)
        release.set()

        def claimed(seconds_later: float) -> int:
            address = {"endpoint": server.url, "account_id": settings(server.url)["account_id"]}
            spool = Spool(tmp_path, **address, clock=lambda: time.time() + seconds_later)
            return len(spool.claim(9, 1_000_000))

        request_seconds = processor.span_exporter.config.timeout_millis / 1000
        assert claimed(0) == claimed(request_seconds) == 0
        assert claimed(request_seconds + REASSERT_SECONDS) == 1


def test_an_end_whose_start_is_answered_while_shutdown_waits_may_be_sent_at_once(
    traced: Traced, tmp_path: Path
) -> None:
    """`otel-sgp replay` finds it right after the process."""
    with StubServer(lambda request: Answer(after=lambda: wait_until(lambda: state.closed))) as server:
        provider, processor = traced(server.url, spool=tmp_path)
        state = processor._pipeline._state
        span = provider.get_tracer("t").start_span("span")
        wait_until(lambda: len(server.arrived) == 1)
        span.end()
        processor.shutdown(1000)
    assert len(processor.span_exporter.spool_in(tmp_path).claim(9, 1_000_000)) == 1


def test_spans_of_now_do_not_wait_for_those_of_an_outage(traced: Traced, tmp_path: Path) -> None:
    """One sender at a time has to do with these, however long that takes."""
    release, slow = threading.Event(), []

    def script(request: Request) -> Answer | None:
        if "left behind" not in request.names:
            return None
        slow.append(request)
        return Answer(after=lambda: release.wait(20))

    with StubServer(script) as server:
        leave_behind(server, tmp_path, 100)
        provider, _ = traced(server.url, schedule_delay_millis=1, max_export_batch_size=10, spool=tmp_path)

        def have_come(count: int) -> bool:
            provider.get_tracer("t").start_span("span").end()
            return len(server.requests) >= count

        wait_until(lambda: have_come(0) and bool(slow))
        wait_until(lambda: have_come(50))
        assert len(slow) == 1
        release.set()


def test_what_is_still_being_sent_at_shutdown_is_said(traced: Traced, caplog: pytest.LogCaptureFixture) -> None:
    """Without a spool nobody will ever know what became of it. It is the last word, whatever comes back later."""
    release = threading.Event()
    with StubServer(lambda request: Answer(after=lambda: release.wait(20))) as server:
        provider, processor = traced(server.url, max_export_batch_size=10, start_delay_millis="off")
        for _ in range(30):
            provider.get_tracer("t").start_span("span").end()
        wait_until(lambda: len(server.arrived) == 3)
        processor.shutdown(200)
        release.set()
        wait_until(lambda: not processor._pipeline._senders.in_flight)
    assert caplog.messages == ["30 spans were still being sent at shutdown: they are lost if SGP has not got them."]


def test_what_comes_back_while_shutdown_puts_the_rest_on_disk_is_put_there_too(traced: Traced, tmp_path: Path) -> None:
    """Nobody would take it from the queue any more."""
    busy, answer = threading.Event(), threading.Event()

    def script(request: Request) -> Answer | None:
        busy.set()
        answer.wait(10)
        return Answer(503, {"Retry-After": "60"})

    with StubServer(script) as server:
        provider, processor = traced(
            server.url, max_export_batch_size=10, max_concurrent_exports=1, start_delay_millis="off", spool=tmp_path
        )
        for _ in range(50):
            provider.get_tracer("t").start_span("span").end()
        wait_until(busy.is_set)
        pipeline = processor._pipeline
        keep = pipeline._keep

        def slow_keep(records: object, deadline: float) -> object:
            kept = keep(records, deadline)  # type: ignore[arg-type]
            answer.set()
            wait_until(lambda: not pipeline._senders.in_flight)
            return kept

        pipeline._keep = slow_keep  # type: ignore[method-assign, assignment]
        processor.shutdown(1000)
        stats = processor.stats()
        assert (stats.spooled, stats.lost, stats.pending) == (50, {}, 0)
        assert sum(processor.span_exporter.spool_in(tmp_path).counts().values()) == 50


def test_a_back_off_ends_with_the_deadline(traced: Traced, tmp_path: Path) -> None:
    """Nobody sleeps past it: the counts are final when shutdown returns."""
    with StubServer(down) as server:
        provider, processor = traced(server.url, max_export_batch_size=50, spool=tmp_path)
        for number in range(1000):
            provider.get_tracer("t").start_span(f"kept {number}").end()
        wait_until(lambda: len(server.requests) >= 24)
        processor.shutdown(1500)
        stats = processor.stats()
        assert (stats.spooled, stats.lost, stats.pending) == (1000, {}, 0)


def test_ends_go_to_disk_before_a_full_queue_has_to_give_them_up(traced: Traced, tmp_path: Path) -> None:
    """With a spool no END is lost while the disk has room, even when every sender hangs."""
    release = threading.Event()
    with StubServer(lambda request: Answer(503, after=lambda: release.wait(30))) as server:
        provider, processor = traced(
            server.url, max_queue_size=200, max_export_batch_size=10, max_concurrent_exports=2, spool=tmp_path
        )
        tracer = provider.get_tracer("t")
        for _ in range(50):
            for number in range(20):
                tracer.start_span(f"kept {number}").end()
            wait_until(lambda: processor.stats().pending <= 150)
        stats = processor.stats()
        assert (stats.offered, stats.lost) == (2000, {})
        assert stats.spooled > 800
        release.set()
        processor.shutdown(2000)
        assert processor.stats().spooled == 1000
