"""What runs in the sender threads: in which context they do, and what they survive of what is called there."""

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.metrics import Histogram, Meter, NoOpHistogram, NoOpMeter, NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider

from faults import behind, black_hole, status
from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from otel_sgp_exporter._record import Record
from support import Answer, Request, StubServer, settings, wait_until

Traced = Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]
MIB = 1024 * 1024


def is_suppressed() -> bool:
    """Whether auto-instrumentation makes no spans here."""
    return bool(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY))


def is_ours() -> bool:
    return threading.current_thread().name.startswith("sgp-")


# Where threads cannot be had.


@pytest.fixture
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while the interpreter exits, when 3.12 starts none any more."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("sgp-"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("_no_threads")
def test_without_any_thread_whoever_flushes_delivers(server: StubServer) -> None:
    """The first span may end that late."""
    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(server.url)), max_export_batch_size=10)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    for _ in range(50):
        provider.get_tracer("t").start_span("span").end()
    assert processor.flush(5000).complete
    provider.get_tracer("t").start_span("last").end()
    processor.shutdown()
    assert (processor.stats().delivered, processor.stats().pending) == (102, 0)


@pytest.mark.usefixtures("_no_threads")
def test_without_any_thread_a_flush_ends_in_time_while_it_looks_for_a_bad_span() -> None:
    """The search may take as long as it needs in a thread of ours, but not in the application's."""

    def script(request: Request) -> Answer | None:
        return Answer(422 if "bad" in request.names else 200, after=lambda: time.sleep(0.3))

    with StubServer(script) as server:
        exporter = SGPSpanExporter(**settings(server.url))
        processor = ConcurrentBatchSpanProcessor(exporter, max_export_batch_size=64, start_delay_millis="off")
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        for number in range(64):
            provider.get_tracer("t").start_span("good" if number else "bad").end()
        began = time.monotonic()
        processor.flush(1000)
        assert time.monotonic() - began < 1.5
        processor.shutdown(0)


def test_threads_that_cannot_be_had_at_first_are_started_later_and_each_once(
    server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a limit is reached, some start and some do not."""
    start, started, limit = threading.Thread.start, list[str](), 1

    def start_a_few(thread: threading.Thread) -> None:
        if thread.name.startswith("sgp-"):
            if len(started) >= limit:
                raise RuntimeError("can't start new thread")
            started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_a_few)
    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(server.url)), max_concurrent_exports=1)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)

    def all_run() -> bool:
        provider.get_tracer("t").start_span("span").end()
        return len(started) == limit

    wait_until(lambda: all_run() and len(server.items) >= 2)
    limit = 4  # three senders, and one that admits
    wait_until(all_run)
    assert processor.flush(5000).complete
    processor.shutdown()
    assert len(set(started)) == 4


# The context.


def test_senders_do_not_inherit_the_span_that_started_them(server: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads take the context along under ThreadingInstrumentor, and by themselves in free-threaded Python 3.14."""

    def start_with_context(thread: threading.Thread) -> None:
        run, inherited = thread.run, contextvars.copy_context()
        monkeypatch.setattr(thread, "run", lambda: inherited.run(run))
        start(thread)

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start_with_context)
    current: list[bool] = []

    def redact(item: dict[str, Any]) -> dict[str, Any]:
        current.append(trace.get_current_span().get_span_context().is_valid)
        return item

    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(server.url), redact=redact))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    current_span = trace.NonRecordingSpan(trace.SpanContext(1, 1, False, trace.TraceFlags(1)))
    with trace.use_span(current_span):
        provider.get_tracer("t").start_span("starts the threads").end()
    assert processor.force_flush()
    assert current == [False, False]
    processor.shutdown()


@pytest.fixture
def bridge() -> Iterator[list[tuple[str, int, bool]]]:
    """A log bridge: name, level and suppression of every line that is logged in threads of ours, at any level."""
    lines: list[tuple[str, int, bool]] = []

    class Bridge(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if is_ours():
                lines.append((record.name, record.levelno, is_suppressed()))

    root, handler = logging.getLogger(), Bridge()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.setLevel(level)
    root.removeHandler(handler)


def test_the_client_s_request_lines_are_not_echoed_and_its_details_are_suppressed(
    server: StubServer, traced: Traced, bridge: list[tuple[str, int, bool]]
) -> None:
    """httpx logs every request at INFO: a bridge from logs to spans would make a loop of that."""
    provider, processor = traced(server.url)
    provider.get_tracer("t").start_span("span").end()
    assert processor.force_flush()
    assert bridge, "httpcore tells its steps at DEBUG"
    assert {suppressed for _, _, suppressed in bridge} == {True}
    assert {name for name, level, _ in bridge if level >= logging.INFO} == set()


# What is called there.


class Probe:
    """Called back by us: is it suppressed there, and does the processor still answer others meanwhile?"""

    def __init__(self) -> None:
        self.found: list[tuple[bool, bool]] = []
        self.processor: ConcurrentBatchSpanProcessor | None = None

    def __call__(self) -> None:
        if not is_ours() or self.processor is None:
            return
        other = threading.Thread(target=self.processor.stats)
        other.start()
        other.join(5)
        self.found.append((is_suppressed(), not other.is_alive()))


class Meters(NoOpMeterProvider):
    """A provider of meters whose histograms call `record`."""

    def __init__(self, record: Callable[[], object]) -> None:
        self.record = record

    def get_meter(self, *args: Any, **kwargs: Any) -> Meter:
        provider = self

        class Calls(NoOpHistogram):
            def record(self, *args: Any, **kwargs: Any) -> None:
                provider.record()

        class Histograms(NoOpMeter):
            def create_histogram(self, *args: Any, **kwargs: Any) -> Histogram:
                return Calls("h")

        return Histograms("m")


def test_metrics_are_recorded_suppressed_and_without_the_lock(server: StubServer, traced: Traced) -> None:
    """A reader that exports over HTTP must be no span of ours, and one that takes its time must stop nobody."""
    probe = Probe()
    provider, probe.processor = traced(server.url, meter_provider=Meters(probe))
    provider.get_tracer("t").start_span("span").end()
    assert probe.processor.force_flush()
    assert set(probe.found) == {(True, True)}


def test_a_log_line_is_written_suppressed_and_without_the_lock(traced: Traced) -> None:
    """A handler may send the line somewhere, and may take its time."""
    probe = Probe()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            probe()

    logger, handler = logging.getLogger("otel_sgp_exporter"), Handler()
    logger.addHandler(handler)
    try:
        with behind(status(422)) as url:
            provider, probe.processor = traced(url)
            provider.get_tracer("t").start_span("span").end()
            probe.processor.flush()
            wait_until(lambda: bool(probe.found))  # it is written after the flush was woken
    finally:
        logger.removeHandler(handler)
    assert set(probe.found) == {(True, True)}


def test_a_metric_that_raises_ends_no_sender(server: StubServer, traced: Traced) -> None:
    """It kills the worker of the stock processor, and spans pile up."""

    def fail() -> None:
        raise RuntimeError("a broken meter")

    provider, processor = traced(server.url, meter_provider=Meters(fail), max_concurrent_exports=2)
    for _ in range(10):
        provider.get_tracer("t").start_span("span").end()
        assert processor.force_flush()
    assert processor.stats().delivered == 20
    assert sum(thread.name.startswith("sgp-export") for thread in threading.enumerate()) >= 2


# How they encode.


def test_one_sender_encodes_at_a_time(server: StubServer, traced: Traced) -> None:
    """They would only take the interpreter from each other."""
    provider, processor = traced(server.url, max_export_batch_size=5, schedule_delay_millis=1)
    encoder = processor.span_exporter.delivery.encoder  # type: ignore[attr-defined]
    seal, inside, most = encoder.seal, [], []

    def watched(record: Record) -> None:
        inside.append(record)
        most.append(len(inside))
        time.sleep(0.001)
        seal(record)
        inside.pop()

    encoder.seal = watched
    for _ in range(50):
        provider.get_tracer("t").start_span("span").end()
    assert processor.force_flush()
    assert (len(most), max(most)) == (100, 1)


def test_what_is_encoded_is_a_small_part_of_what_may_be_held(traced: Traced) -> None:
    """Allocators give back little: what is encoded comes on top of the most that was ever held before it was."""
    with black_hole() as url:
        provider, processor = traced(url, max_queue_bytes=8 * MIB, max_concurrent_exports=2)
        for _ in range(200):
            provider.get_tracer("t").start_span("span", attributes={"input.value": "x" * 50_000}).end()
        in_flight = processor._pipeline._senders.in_flight
        wait_until(lambda: len(in_flight) == 4)
        held = sum(record.charged_bytes for batch in list(in_flight.values()) for record in [*batch.values()])
        assert MIB < held < 2.2 * MIB
        processor.shutdown(0)


def test_redactors_run_side_by_side(server: StubServer) -> None:
    """One that asks another service waits most of the time."""
    together = threading.Barrier(2, timeout=10)

    def redact(item: dict[str, Any]) -> dict[str, Any]:
        together.wait()
        return item

    exporter = SGPSpanExporter(**settings(server.url), redact=redact)
    processor = ConcurrentBatchSpanProcessor(exporter, max_export_batch_size=1, start_delay_millis="off")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    for _ in range(2):
        provider.get_tracer("t").start_span("span").end()
    assert processor.force_flush()
    processor.shutdown()
    assert not together.broken


# When they wake up.


def test_a_full_batch_goes_at_once(server: StubServer, traced: Traced) -> None:
    """It waits for no schedule, however the wake-ups of the senders fall."""
    provider, processor = traced(server.url, 20_000, 600_000, 10, start_delay_millis="off")
    tracer = provider.get_tracer("t")

    def make() -> None:
        for _ in range(50):
            tracer.start_span("span").end()

    for round_ in range(1, 11):
        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda expected=200 * round_: processor.stats().delivered == expected, 5)  # type: ignore[misc]


def test_calls_that_the_admitting_thread_has_answered_leave_nothing_for_it_to_do(
    server: StubServer, traced: Traced
) -> None:
    """However many there were at once: it does not look again for each of them."""
    provider, processor = traced(server.url)
    for _ in range(200):
        provider.get_tracer("t").start_span("span").end()
        processor.stats()
    assert processor._pipeline._guard._bell.qsize() <= 1


def test_a_batch_that_fills_one_by_one_goes_when_it_is_full(server: StubServer, traced: Traced) -> None:
    """Whoever was woken for the first record waits for company: the last one has to wake it again."""
    provider, processor = traced(server.url, 20_000, 600_000, 10, start_delay_millis="off")
    senders = processor._pipeline._senders
    for number in range(10):
        assert server.requests == []
        provider.get_tracer("t").start_span("span").end()
        assert processor.stats().offered == number + 1  # so it is admitted
        wait_until(lambda: senders._idle == senders._config.senders or bool(server.requests))
    wait_until(lambda: processor.stats().delivered == 10, 5)


def test_batches_that_fill_while_all_senders_are_busy_go_when_one_is_free(traced: Traced) -> None:
    """Nobody slept when they filled, so nobody was woken: whoever comes back looks again."""
    busy, go_on = threading.Event(), threading.Event()

    def script(request: Request) -> Answer | None:
        busy.set()
        return Answer(after=lambda: go_on.wait(10)) if request.names[0] == "first" else None

    with StubServer(script) as server:
        provider, processor = traced(
            server.url, 20_000, 600_000, 10, max_concurrent_exports=1, start_delay_millis="off"
        )
        tracer = provider.get_tracer("t")
        for _ in range(10):
            tracer.start_span("first").end()
        wait_until(busy.is_set)
        for _ in range(100):
            tracer.start_span("then").end()
        go_on.set()
        wait_until(lambda: processor.stats().delivered == 110, 5)
