"""The processor as the SDK and its users see it."""

import inspect
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, DropReason, SGPSpanExporter
from support import Answer, Request, StubServer, settings, upserts, wait_until

Traced = Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]


def test_it_is_a_batch_span_processor_and_takes_its_positional_arguments() -> None:
    """Existing set-ups change one name."""
    exporter = SGPSpanExporter(**settings("http://127.0.0.1:1"))
    processor = ConcurrentBatchSpanProcessor(exporter, 2048, 5000, 512, 30000)
    assert isinstance(processor, BatchSpanProcessor)
    assert processor.span_exporter is exporter
    ours, stock = (
        [name for name, p in inspect.signature(kind).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        for kind in (ConcurrentBatchSpanProcessor, BatchSpanProcessor)
    )
    assert ours == stock


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_queue_size": 0},
        {"max_queue_size": -1},
        {"schedule_delay_millis": 0},
        {"schedule_delay_millis": -5},
        {"max_export_batch_size": 0},
        {"max_queue_size": 100, "max_export_batch_size": 101},
    ],
    ids=str,
)
def test_wrong_arguments_raise_what_the_stock_processor_raises(arguments: dict[str, Any]) -> None:
    """The same errors in the same words."""
    with pytest.raises(ValueError, match=r".") as stock:
        BatchSpanProcessor(ConsoleSpanExporter(), **arguments)
    with pytest.raises(ValueError, match=r".") as ours:
        ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings("http://127.0.0.1:1")), **arguments)
    assert str(ours.value) == str(stock.value)


def test_another_exporter_is_refused() -> None:
    """A START cannot be sent through an exporter that knows no STARTs."""
    with pytest.raises(TypeError, match="span_exporter must be an SGPSpanExporter, not ConsoleSpanExporter"):
        ConcurrentBatchSpanProcessor(ConsoleSpanExporter())


def test_a_running_span_is_shown_before_it_ends(server: StubServer, traced: Traced) -> None:
    """The START arrives while the span is open, with what was known then."""
    provider, processor = traced(server.url)
    span = provider.get_tracer("t").start_span("agent", attributes={"known.at.start": 1})
    assert processor.force_flush()
    span.set_attribute("known.later", 2)
    [started] = server.items
    assert "end_timestamp" not in started
    span.end()
    assert processor.force_flush()
    ended = server.items[1]
    assert ended["start_timestamp"] == started["start_timestamp"]
    assert "known.later" in str(ended["metadata"])
    assert "known.later" not in str(started["metadata"])


def test_requests_mix_starts_and_ends_of_different_spans(server: StubServer, traced: Traced) -> None:
    """One batch carries both."""
    provider, processor = traced(server.url)
    tracer = provider.get_tracer("t")
    first = tracer.start_span("first")
    processor.force_flush()
    first.end()
    tracer.start_span("second")
    processor.force_flush()
    assert server.requests[-1].names == ["first", "second"]


def test_an_end_waits_for_its_own_slow_start_and_delays_nothing_else(traced: Traced) -> None:
    """While a START hangs, its END is parked without holding a sender, and other spans come and go."""
    release = threading.Event()

    def hang_on_slow_start(request: Request) -> Answer | None:
        slow = any(item["name"] == "slow" and "end_timestamp" not in item for item in request.items)
        return Answer(after=lambda: release.wait(10)) if slow else None

    with StubServer(hang_on_slow_start) as server:
        provider, processor = traced(server.url, schedule_delay_millis=1, max_concurrent_exports=2)
        tracer = provider.get_tracer("t")
        slow = tracer.start_span("slow")
        wait_until(lambda: len(processor._pipeline._senders.in_flight) == 1)
        slow.end()
        for number in range(20):
            tracer.start_span(f"quick {number}").end()
        wait_until(lambda: len(upserts(server.items)) == 20 and processor.stats().pending == 2)
        assert {tuple(arrived) for arrived in upserts(server.items).values()} == {("start", "end")}
        release.set()
        assert processor.force_flush()
        assert upserts(server.items)[server.items[-1]["id"]] == ["start", "end"]


class RecordOnly(Sampler):
    """Records every span and samples none."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "RecordOnly"


def test_spans_that_are_recorded_but_not_sampled_are_ignored(server: StubServer) -> None:
    """Neither START nor END of a RECORD_ONLY span is sent, and no thread is started for it."""
    threads = {*threading.enumerate()}
    processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(server.url)))
    provider = TracerProvider(sampler=RecordOnly(), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("unsampled").end()
    assert {*threading.enumerate()} <= threads
    provider.shutdown()
    assert processor.stats().offered == 0
    assert server.requests == []


def test_a_start_delay_saves_the_start_of_a_span_that_ends_in_time(server: StubServer, traced: Traced) -> None:
    """With a delay, short spans cost one upsert and long ones are shown."""
    provider, processor = traced(server.url, schedule_delay_millis=1, start_delay_millis=50)
    tracer = provider.get_tracer("t")
    long = tracer.start_span("long")
    wait_until(lambda: len(server.items) == 1)
    long.end()
    wait_until(lambda: processor.stats().pending == 0)
    assert list(upserts(server.items).values()) == [["start", "end"]]
    provider, processor = traced(server.url, start_delay_millis=60_000)
    provider.get_tracer("t").start_span("short").end()
    processor.force_flush()
    assert processor.stats().superseded == 1
    assert [item["name"] for item in server.items] == ["long", "long", "short"]


def test_an_end_waits_for_no_delayed_start(server: StubServer, traced: Traced) -> None:
    """Whoever waits for a START that is far from due hears of an END that is due sooner."""
    provider, processor = traced(server.url, schedule_delay_millis=1, start_delay_millis=60_000)
    span = provider.get_tracer("t").start_span("short")
    wait_until(lambda: bool(processor._pipeline._senders._idle))
    span.end()
    wait_until(lambda: bool(server.items))


def test_a_delayed_start_shows_what_the_span_holds_by_then(server: StubServer, traced: Traced) -> None:
    """Many instrumentations set the kind of a span right after they have started it."""
    provider, _ = traced(server.url, schedule_delay_millis=1, start_delay_millis=50)
    span = provider.get_tracer("t").start_span("early name")
    span.set_attribute("openinference.span.kind", "LLM")
    span.update_name("chat")
    wait_until(lambda: len(server.items) == 1)
    assert (server.items[0]["name"], server.items[0]["type"]) == ("chat", "COMPLETION")
    span.end()


def test_what_only_the_start_knew_is_in_the_end_when_the_attribute_limit_evicted_it(
    server: StubServer, traced: Traced
) -> None:
    """With both upserts, and with a START that its END replaced."""
    for delay in (0, 60_000):
        provider, processor = traced(server.url, start_delay_millis=delay)
        span = provider.get_tracer("t").start_span("chat", attributes={"first.of.all": "known at the start"})
        if not delay:
            processor.force_flush()
        for number in range(128):
            span.set_attribute(f"later.{number}", number)
        span.end()
        assert processor.force_flush()
        assert "known at the start" in str(server.items[-1])
        assert server.items[-1]["end_timestamp"]


@pytest.mark.parametrize("off", [None, "off"])
def test_starts_can_be_switched_off(server: StubServer, traced: Traced, off: str | None) -> None:
    """Off sends the END only."""
    provider, processor = traced(server.url, start_delay_millis=off)
    provider.get_tracer("t").start_span("span").end()
    assert processor.force_flush()
    assert list(upserts(server.items).values()) == [["end"]]


def test_nothing_of_ours_comes_out_of_the_application_s_calls(traced: Traced, caplog: pytest.LogCaptureFixture) -> None:
    """A span that breaks in our hands is logged once; the caller never sees an exception."""

    class Broken(ReadableSpan):
        @property
        def name(self) -> str:
            raise RuntimeError("broken")

    _, processor = traced("http://127.0.0.1:1")
    context = trace.SpanContext(1, 1, False, trace_flags=trace.TraceFlags(1))
    for _ in range(3):
        processor.on_end(Broken("x", context))
        processor.on_start(Broken("x", context))  # type: ignore[arg-type]
    assert len(caplog.records) == 1


def test_force_flush_honours_its_timeout_and_says_that_something_is_pending(traced: Traced) -> None:
    """A slow backend costs the caller no more than the timeout."""
    release = threading.Event()
    with StubServer(lambda request: Answer(after=lambda: release.wait(10))) as server:
        provider, processor = traced(server.url)
        provider.get_tracer("t").start_span("span").end()
        began = time.monotonic()
        assert processor.force_flush(100) is False
        assert time.monotonic() - began < 0.6
        assert processor.stats().pending == 2
        release.set()
        assert processor.force_flush() is True


def test_force_flush_says_that_something_was_lost(traced: Traced) -> None:
    """What the server refused is not a success, and the next flush starts afresh."""
    with StubServer(lambda request: Answer(422, body=b'{"detail":"no"}')) as server:
        provider, processor = traced(server.url)
        provider.get_tracer("t").start_span("span").end()
        result = processor.flush()
        assert (result.complete, result.delivered, result.pending) == (False, 0, 0)
        assert result.lost == {DropReason.REFUSED: 1}
        assert processor.force_flush() is True


def test_shutdown_is_safe_before_use_twice_and_at_the_same_time(server: StubServer, traced: Traced) -> None:
    """Whoever calls it, and however often, it drains once."""
    provider, processor = traced(server.url)
    provider.get_tracer("t").start_span("span").end()
    threads = [threading.Thread(target=processor.shutdown) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert processor.stats().delivered == 2
    ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(server.url))).shutdown()


def test_spans_after_shutdown_are_counted_as_dropped(server: StubServer, traced: Traced) -> None:
    """Too late is a reason, not a silence."""
    provider, processor = traced(server.url)
    processor.shutdown()
    provider.get_tracer("t").start_span("late").end()
    stats = processor.stats()
    assert (stats.offered, stats.dropped) == (2, 2)
    assert stats.lost == {DropReason.CLOSED: 1}


def test_the_queue_is_bounded_while_the_backend_is_down(traced: Traced) -> None:
    """Records beyond the bound are dropped and counted; STARTs go before ENDs."""
    provider, processor = traced("http://127.0.0.1:1", max_queue_size=100, max_export_batch_size=10)
    tracer = provider.get_tracer("t")
    for _ in range(1000):
        tracer.start_span("span").end()
    stats = processor.stats()
    assert stats.pending <= 100
    assert stats.offered == 2000 == stats.pending + stats.dropped + stats.superseded


def test_a_finaliser_that_ends_a_span_inside_the_pipeline_does_not_deadlock(server: StubServer, traced: Traced) -> None:
    """A span may end in a garbage collection that strikes while this very thread holds the lock."""
    provider, processor = traced(server.url)
    span = provider.get_tracer("t").start_span("collected")
    processor.force_flush()
    with processor._pipeline._guard.locked():
        span.end()
    assert processor.force_flush()
    assert upserts(server.items)[server.items[0]["id"]] == ["start", "end"]


def test_an_idle_processor_costs_nothing(server: StubServer, traced: Traced) -> None:
    """With spans open and nothing to send, the senders sleep."""
    provider, processor = traced(server.url)
    provider.get_tracer("t").start_span("open")
    processor.force_flush()
    began = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - began < 0.1


def test_every_override_matches_the_sdk(server: StubServer) -> None:
    """The canary: a new SDK that calls us differently fails here and not at the users'."""
    of_newer_ones = ("_on_ending",) if hasattr(BatchSpanProcessor, "_on_ending") else ()
    for name in ("on_start", "on_end", *of_newer_ones):
        stock = inspect.signature(getattr(BatchSpanProcessor, name))
        assert list(inspect.signature(getattr(ConcurrentBatchSpanProcessor, name)).parameters) == list(stock.parameters)
    assert isinstance(Span, type)
