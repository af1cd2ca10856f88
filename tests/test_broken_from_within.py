"""Threads of ours that something breaks, and what is said about it: delivery goes on, and the log stays readable."""

import ctypes
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import TRACE_ID, StubServer, settings, wait_until

Traced = Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]


def strike(name: str) -> list[threading.Thread]:
    """A MemoryError in each thread called so, wherever it is; it comes when the thread runs next."""
    struck = [thread for thread in threading.enumerate() if thread.name.startswith(name)]
    for thread in struck:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(MemoryError))
    return struck


@pytest.mark.parametrize("name", ["sgp-export", "sgp-admit"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_thread_of_ours_is_gone_for_good(server: StubServer, traced: Traced, name: str) -> None:
    """Without anybody's flush: what ends later is delivered, whatever struck the threads that do it."""
    provider, processor = traced(server.url, schedule_delay_millis=1)
    tracer = provider.get_tracer("t")
    tracer.start_span("before").end()
    assert processor.force_flush()
    assert strike(name)
    for _ in range(30):  # each wakes a thread, which is then struck
        tracer.start_span("after").end()
        threading.Event().wait(0.02)
    tracer.start_span("last").end()
    wait_until(lambda: {"start", "end"} <= set(arrived(server, "last")))


def test_what_was_there_when_the_admitting_thread_was_struck_is_not_forgotten(
    server: StubServer, traced: Traced
) -> None:
    """Nobody may come after it to wake the thread again."""

    class Unlucky(ReadableSpan):
        struck = False

        @property
        def kind(self) -> SpanKind:
            if not self.struck and threading.current_thread().name == "sgp-admit":
                self.struck = True
                raise SystemExit  # no Exception, so no fault of the span
            return SpanKind.INTERNAL

    provider, processor = traced(server.url, schedule_delay_millis=1)
    provider.get_tracer("t").start_span("before").end()
    assert processor.force_flush()
    where = SpanContext(TRACE_ID, 9, is_remote=False, trace_flags=TraceFlags(1))
    span = Unlucky("unlucky", where, start_time=1, end_time=2)
    processor.on_end(span)
    wait_until(lambda: "unlucky" in str(server.items), 3)
    assert span.struck


def arrived(server: StubServer, name: str) -> list[str]:
    return ["end" if item.get("end_timestamp") else "start" for item in server.items if item["name"] == name]


def test_a_running_span_that_breaks_costs_no_sender(server: StubServer, traced: Traced) -> None:
    """A delayed START looks at its span once more, under the lock."""

    class Broken(dict[str, Any]):
        def copy(self) -> dict[str, Any]:
            raise RuntimeError("broken")

    provider, processor = traced(server.url, schedule_delay_millis=1, start_delay_millis=20)
    span = provider.get_tracer("t").start_span("span", attributes={"known": "at start"})
    assert isinstance(span, Span)
    whole, span._attributes = span._attributes, Broken(known=1)  # type: ignore[assignment]
    wait_until(lambda: len(server.items) == 1)
    assert "at start" in str(server.items)
    span._attributes = whole
    span.end()
    assert processor.force_flush()


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    """What we log, whoever does."""
    seen: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    logger, handler = logging.getLogger("otel_sgp_exporter"), Handler()
    logger.addHandler(handler)
    yield seen
    logger.removeHandler(handler)


def test_a_bug_that_every_batch_meets_is_one_traceback(server: StubServer, lines: list[logging.LogRecord]) -> None:
    """And a line at 1, 10, 100 ... lost spans, as for any other loss."""

    def redact(item: dict[str, Any]) -> dict[str, Any]:
        raise SystemExit  # what only a bug of ours would do otherwise

    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(server.url), redact=redact))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    for _ in range(30):
        provider.get_tracer("t").start_span("span").end()
        processor.flush(2000)
    assert sum(bool(record.exc_info) for record in lines) == 1
    assert len(lines) == 3
    processor.shutdown()


def test_a_broken_span_and_a_broken_log_handler_together_raise_nothing(traced: Traced) -> None:
    """What a hook says about a span must not come out of the application's call either."""

    class Broken(ReadableSpan):
        @property
        def name(self) -> str:
            raise RuntimeError("broken")

    class Handler(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise ValueError("a broken handler")

    _, processor = traced("http://127.0.0.1:1")
    logger, handler = logging.getLogger("otel_sgp_exporter"), Handler()
    logger.addHandler(handler)
    try:
        processor.on_end(Broken("x", trace.SpanContext(1, 1, False, trace_flags=trace.TraceFlags(1))))
    finally:
        logger.removeHandler(handler)
