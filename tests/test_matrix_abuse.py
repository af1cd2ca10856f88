"""What nobody should do and somebody will: broken callables, exhausted limits, clocks that stop."""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpcore
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

from faults import FaultProxy, black_hole, passes, refused, status
from otel_sgp_exporter import ConcurrentBatchSpanProcessor, DropReason, SGPSpanExporter
from support import Answer, StubServer, settings, wait_until
from test_deadlines import GRACE_SECONDS, assert_conserved, in_flight, seconds, traced_to

# Callables and handlers that break.


def redacting(url: str, redact: Callable[[dict[str, Any]], Any], **options: Any) -> tuple[Any, Any]:
    """A tracer and a processor with that redactor."""
    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(url), redact=redact, **options))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider.get_tracer("t"), processor


ODD_REDACTORS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "metadata is null": lambda item: {**item, "metadata": None},
    "metadata is text": lambda item: {**item, "metadata": "gone"},
    "no metadata": lambda item: {key: value for key, value in item.items() if key != "metadata"},
    "no times": lambda item: {key: value for key, value in item.items() if not key.endswith("timestamp")},
    "nothing left": lambda item: {},
}


@pytest.mark.parametrize("redact", ODD_REDACTORS.values(), ids=ODD_REDACTORS)
def test_an_open_span_in_an_odd_shape_does_not_break_the_shutdown(
    server: StubServer, redact: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """A redactor may have taken away whatever a span is closed with."""
    tracer, processor = redacting(server.url, redact)
    open_span = tracer.start_span("open")
    processor.force_flush()
    tracer.start_span("ended").end()
    processor.shutdown(3000)
    stats = processor.stats()
    assert_conserved(processor, stats.offered)
    assert (stats.pending, stats.delivered >= 3) == (0, True)
    open_span.end()


@pytest.mark.parametrize("redact", ODD_REDACTORS.values(), ids=ODD_REDACTORS)
def test_a_large_span_in_an_odd_shape_costs_at_most_itself(
    server: StubServer, redact: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """What shortens a span too large for a request finds no metadata to say so in."""

    def enlarge(item: dict[str, Any]) -> dict[str, Any]:
        return {**redact(item), "input": {"text": "x" * 300_000} if item["name"] == "large" else {}}

    tracer, processor = redacting(server.url, enlarge, max_request_bytes=200_000)
    for name in ["small"] * 10 + ["large"]:
        tracer.start_span(name).end()
    result = processor.flush(5000)
    assert result.pending == 0
    assert DropReason.INTERNAL not in result.lost
    assert result.delivered >= 20
    processor.shutdown(1000)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, StopIteration])
def test_no_exception_of_a_redactor_ends_a_sender(server: StubServer, error: type[BaseException]) -> None:
    """Whatever it raises is counted; the threads go on."""
    broken = True

    def redact(item: dict[str, Any]) -> dict[str, Any]:
        if broken:
            raise error
        return item

    logging.getLogger("otel_sgp_exporter").setLevel(logging.CRITICAL)
    tracer, processor = redacting(server.url, redact)
    for _ in range(20):
        tracer.start_span("span").end()
        processor.force_flush(2000)
    broken = False
    tracer.start_span("span").end()
    assert processor.force_flush(2000)
    logging.getLogger("otel_sgp_exporter").setLevel(logging.NOTSET)
    processor.shutdown(1000)
    assert_conserved(processor, 42)


@pytest.fixture
def broken_handler() -> Iterator[None]:
    """Whatever we log raises."""

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise ValueError("a broken handler")

    logger, handler = logging.getLogger("otel_sgp_exporter"), Broken()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.mark.usefixtures("broken_handler")
def test_a_log_handler_that_raises_ends_no_sender_and_no_call(server: StubServer) -> None:
    """Logging is the last thing that may stop delivery, or come out of the application's shutdown."""
    with FaultProxy(server.url, lambda number: status(422) if number < 20 else passes) as proxy:
        tracer, processor = traced_to(proxy.url, schedule_delay_millis=1)
        for _ in range(30):
            tracer.start_span("span").end()
            processor.flush(2000)
        tracer.start_span("last").end()
        processor.flush(2000)
        assert sum(t.name.startswith("sgp-export") for t in threading.enumerate()) >= 8
        processor.shutdown(1000)
    stats = processor.stats()
    assert_conserved(processor, 62)
    assert stats.pending == 0
    assert "last" in [item["name"] for item in server.items]


def test_what_comes_back_after_shutdown_is_settled() -> None:
    """A batch that the server sends away while shutdown says its last word does not go back into the queue."""
    release, answered = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if threading.current_thread() is threading.main_thread():
                release.set()
                answered.wait(0.5)

    logger, handler = logging.getLogger("otel_sgp_exporter"), Slow()
    with StubServer(lambda request: Answer(503, {"retry-after": "2"}, after=lambda: release.wait(5))) as server:
        tracer, processor = traced_to(server.url)
        logger.addHandler(handler)
        try:
            tracer.start_span("span").end()
            wait_until(lambda: in_flight(processor) == 1)
            processor.shutdown(100)
            release.set()
        finally:
            logger.removeHandler(handler)
        wait_until(lambda: in_flight(processor) == 0)
        assert_conserved(processor, 2)
        assert processor.stats().pending == 0


# A machine at its limits.


def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at a limit of processes, in a subinterpreter, or in 3.12 at exit."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("sgp-export"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_senders_that_could_not_start_are_started_later(server: StubServer) -> None:
    """A limit is reached for a moment: the spans after it are delivered without anybody's flush."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        no_threads(monkeypatch)
        tracer, processor = traced_to(server.url)
        tracer.start_span("at the limit").end()
    deadline = time.monotonic() + 5
    while processor.stats().delivered < 2 and time.monotonic() < deadline:
        tracer.start_span("later").end()
        time.sleep(0.05)
    assert "at the limit" in [item["name"] for item in server.items]
    processor.shutdown(1000)


@pytest.mark.parametrize("backend", [black_hole, refused])
def test_without_threads_flush_and_shutdown_are_in_time(
    backend: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever flushes then sends, but no longer than asked for."""
    no_threads(monkeypatch)
    with backend() as url:
        tracer, processor = traced_to(url)
        for _ in range(10):
            tracer.start_span("span").end()
        assert seconds(lambda: processor.flush(300)) < 0.3 + GRACE_SECONDS
        assert seconds(lambda: processor.shutdown(300)) < 0.3 + GRACE_SECONDS
        assert_conserved(processor, 20)


def test_a_clock_that_somebody_froze_stops_nothing(server: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """freezegun replaces `time.monotonic` in every module; our deadlines are of the real one, all of them."""
    tracer, processor = traced_to(server.url)
    for frozen in (0.0, 1e12):
        monkeypatch.setattr(time, "monotonic", lambda frozen=frozen: frozen)
        tracer.start_span("span").end()
        assert processor.flush(2000).complete
        monkeypatch.undo()
    processor.shutdown(1000)


@pytest.mark.parametrize("timeout_millis", [float("inf"), 1e18, -1.0, float("nan")])
@pytest.mark.parametrize("method", ["force_flush", "shutdown"])
def test_no_timeout_raises(server: StubServer, method: str, timeout_millis: float) -> None:
    """For ever is a long time, and less than nothing is none."""
    tracer, processor = traced_to(server.url)
    for _ in range(3):
        tracer.start_span("span").end()
        getattr(processor, method)(timeout_millis)
    processor.shutdown(1000)
    assert_conserved(processor, 6)


@pytest.mark.parametrize("setting", ["schedule_delay_millis", "start_delay_millis", "export_timeout_millis"])
def test_no_setting_is_too_long_for_the_clock(server: StubServer, setting: str) -> None:
    """Whoever writes a very large number means never, and gets it."""
    tracer, processor = traced_to(server.url, **{setting: 1e15})
    tracer.start_span("span").end()
    assert processor.force_flush(2000)
    processor.shutdown(1000)


# A network in between.


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["refused", "no server behind it"],
)
def test_a_proxy_that_is_down_is_an_outage_like_any_other(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """What the proxy answers to CONNECT is no answer of the server: nothing is lost while there is time."""
    connects = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    connects.append(client.recv(65536))
                    client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
        tracer, processor = traced_to("https://sgp.invalid")
        tracer.start_span("span").end()
        result = processor.flush(2000)
        assert len(connects) > 2  # one attempt after the other, and none waits for the one before
        assert result.lost == {}
        assert result.pending
        processor.shutdown(100)
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("header", [{"retry-after-ms": "1"}, {"retry-after": "0.001"}])
def test_a_server_that_asks_for_no_silence_is_not_hammered(server: StubServer, header: dict[str, str]) -> None:
    """A millisecond is what the server says, not what is good for it: our own back-off is the least."""
    with FaultProxy(server.url, lambda number: status(503, header)) as proxy:
        tracer, processor = traced_to(proxy.url)
        tracer.start_span("span").end()
        processor.flush(1500)
        assert len(proxy.seen) < 30
        processor.shutdown(100)


CLIENT_ERRORS = [
    kind
    for name, kind in vars(httpcore).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and name != "ConnectionNotAvailable"  # httpcore's own
]


@pytest.mark.parametrize("kind", [*CLIENT_ERRORS, ssl.SSLError, UnicodeError, OSError], ids=lambda kind: kind.__name__)
def test_every_error_of_the_client_is_a_failed_attempt(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """All that httpcore can raise, and a host name that cannot be looked up, is an answer that did not come."""

    def fail(*args: object, **options: object) -> None:
        raise kind("no luck")

    monkeypatch.setattr(httpcore.ConnectionPool, "handle_request", fail)
    tracer, processor = traced_to("http://127.0.0.1:1")
    tracer.start_span("span").end()
    assert processor.flush(600).lost == {}
    processor.shutdown(10)


def one_exporter(url: str) -> tuple[Tracer, Tracer, list[ConcurrentBatchSpanProcessor]]:
    """Two tracers with a processor each, over one exporter."""
    exporter = SGPSpanExporter(**settings(url))
    processors = [ConcurrentBatchSpanProcessor(exporter) for _ in range(2)]
    tracers = []
    for processor in processors:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        tracers.append(provider.get_tracer("t"))
    return tracers[0], tracers[1], processors


def test_processors_that_share_an_exporter_do_not_end_each_other() -> None:
    """The shutdown of one closes connections; the other opens new ones."""
    with StubServer(latency_seconds=0.05) as server:
        first, second, processors = one_exporter(server.url)
        for _ in range(200):
            first.start_span("first").end()
            second.start_span("second").end()
        processors[0].shutdown()
        for _ in range(200):
            second.start_span("second").end()
        assert processors[1].flush(10_000).complete
        assert processors[1].stats().lost == {}
        processors[1].shutdown()


def test_a_processor_of_two_providers_ends_with_the_first(server: StubServer) -> None:
    """The first shutdown is its end; later spans of the other provider are counted, and more shutdowns are no harm."""
    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(server.url)))
    providers = [TracerProvider(shutdown_on_exit=False) for _ in range(2)]
    for provider in providers:
        provider.add_span_processor(processor)
        provider.get_tracer("t").start_span("span").end()
    providers[0].shutdown()
    providers[1].get_tracer("t").start_span("late").end()
    providers[1].shutdown()
    providers[0].shutdown()
    stats = processor.stats()
    assert (stats.delivered, stats.dropped, stats.pending) == (4, 2, 0)
