"""Spans that go on living after we have looked at them: what is copied when, what is remembered, and what is held."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import Link, SpanContext, TraceFlags

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, _open_spans, _selection
from otel_sgp_exporter._open_spans import OpenSpans
from otel_sgp_exporter._record import Phase, Record
from otel_sgp_exporter._selection import Selection
from support import TRACE_ID, StubServer, ended_span, upserts, wait_until

Traced = Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]


def test_a_start_says_what_was_so_when_the_span_started(server: StubServer, traced: Traced) -> None:
    """Also when it is encoded later: the span that the SDK hands out is the live one."""
    provider, processor = traced(server.url, schedule_delay_millis=600_000)
    provider.get_tracer("t").start_span("warms up the threads").end()
    assert processor.force_flush()
    server.requests.clear()
    where = SpanContext(TRACE_ID, 6, is_remote=False, trace_flags=TraceFlags(1))
    links = [Link(where, {"linked": "at once"})]
    span = provider.get_tracer("t").start_span("as it started", attributes={"known": "then"}, links=links)
    span.set_attribute("known", "later")
    span.set_attribute("more", "later")
    span.add_link(SpanContext(TRACE_ID, 7, is_remote=False, trace_flags=TraceFlags(1)), {"known": "later"})
    span.add_event("later")
    span.update_name("later")
    assert processor.force_flush()
    [started] = server.items
    assert "then" in str(started)
    assert "at once" in str(started)
    assert "later" not in str(started)
    assert started["name"] == "as it started"
    span.end()


class Evicting(BoundedAttributes):
    """Whoever reads it key by key meets one that the attribute limit has just evicted."""

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)


def test_attributes_are_copied_in_one_step() -> None:
    """Neither a new record nor a refreshed one reads a live span key by key."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("span")
    assert isinstance(span, Span)
    span._attributes = Evicting(attributes={"known": 1}, immutable=False)
    with pytest.raises(KeyError):
        dict(span.attributes or {})
    record = Record(Phase.START, (1, 1), span)
    assert record.attributes == {"known": 1}
    span.set_attribute("more", 2)
    record.started = span
    record.refresh()
    assert record.attributes == {"known": 1, "more": 2}


def test_a_start_that_waits_is_refreshed_without_a_lock_of_its_span() -> None:
    """Under the lock of ours: whoever is interrupted within `add_link` may wait for that one in a signal handler."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("span")
    assert isinstance(span, Span)
    span.add_link(SpanContext(TRACE_ID, 7, is_remote=False, trace_flags=TraceFlags(1)))
    record = Record(Phase.START, (1, 1), span)
    record.started = span
    span.update_name("later")
    refreshing = threading.Thread(target=record.refresh, daemon=True)
    with span._links._lock:  # type: ignore[union-attr]
        refreshing.start()
        refreshing.join(5)
        assert record.name == "later"


class Redacted(ReadableSpan):
    """A user's view of a span: its own properties, and everything else of the span that it stands before."""

    def __init__(self, span: ReadableSpan) -> None:
        self._span = span

    def __getattribute__(self, name: str) -> Any:
        if name in ("_span", "attributes", "links", "events", "__class__"):
            return super().__getattribute__(name)
        return getattr(self._span, name)

    @property
    def attributes(self) -> Any:
        return {"known": "shown"}

    @property
    def links(self) -> Any:
        return ()

    @property
    def events(self) -> Any:
        return (Event("shown"),)


def test_of_a_view_of_a_span_only_what_it_shows_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapper that hides what the span holds is not looked behind."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("span", attributes={"known": "hidden"})
    assert isinstance(span, Span)
    span.add_link(SpanContext(TRACE_ID, 7, is_remote=False, trace_flags=TraceFlags(1)), {"known": "hidden"})
    span.end()
    monkeypatch.setattr(Redacted, "__module__", ReadableSpan.__module__)  # as `functools.update_wrapper` does
    record = Record(Phase.END, (1, 1), Redacted(span))
    assert (record.name, record.attributes, record.links) == ("span", {"known": "shown"}, ())
    assert [event.name for event in record.events] == ["shown"]


class Enricher(SpanProcessor):
    """Registered after ours."""

    def on_start(self, span: Span, parent_context: object = None) -> None:
        span.set_attribute("customer", "from a later processor")


@pytest.mark.parametrize(("start_delay_millis", "in_start"), [(0, False), (20, True)])
def test_what_a_later_processor_adds_is_in_the_end(
    server: StubServer, traced: Traced, start_delay_millis: int, in_start: bool
) -> None:
    """The START cannot have it, unless it waits a little; the END repairs the row."""
    provider, processor = traced(server.url, schedule_delay_millis=1, start_delay_millis=start_delay_millis)
    provider.add_span_processor(Enricher())
    span = provider.get_tracer("t").start_span("span")
    wait_until(lambda: len(server.items) == 1)
    span.end()
    assert processor.force_flush()
    start, end = server.items
    assert ("from a later processor" in str(start)) is in_start
    assert "from a later processor" in str(end)


def test_a_running_span_is_not_held(server: StubServer, traced: Traced) -> None:
    """Once its START is sent, the application is the only one that has it; SGP is told of its end all the same."""
    provider, processor = traced(server.url, schedule_delay_millis=1, start_delay_millis=20)
    span = provider.get_tracer("t").start_span("abandoned")
    gone = weakref.ref(span)
    wait_until(lambda: len(server.items) == 1 and processor.stats().pending == 0)
    del span
    gc.collect()
    assert gone() is None
    processor.shutdown()
    assert [item["status"] for item in server.items] == ["SUCCESS", "CANCELED"]


def test_open_spans_may_be_left_as_they_are(server: StubServer, traced: Traced) -> None:
    """Who has another process end its spans says so."""
    provider, processor = traced(server.url, cancel_open_spans=False)
    span = provider.get_tracer("t").start_span("open")
    assert processor.force_flush()
    processor.shutdown()
    assert list(upserts(server.items).values()) == [["start"]]
    span.end()


def start(span_id: int, size: int) -> Record:
    return Record.of_fragment(Phase.START, (1, span_id), b"x" * size)


@pytest.mark.parametrize(
    ("limit", "size", "left"), [("_MAX_SPANS", 10, 20), ("_MAX_BYTES", 4, 5)], ids=["spans", "bytes"]
)
def test_spans_that_never_end_are_remembered_within_bounds(
    monkeypatch: pytest.MonkeyPatch, limit: str, size: int, left: int
) -> None:
    """The oldest are forgotten."""
    monkeypatch.setattr(_open_spans, limit, 20)
    open_spans = OpenSpans()
    for span_id in range(100):
        open_spans.opened(start(span_id, size))
    assert [key[1] for key in open_spans.take_all()] == list(range(100 - left, 100))
    assert len(open_spans) == 0


def test_a_span_larger_than_all_that_may_be_remembered_forgets_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not kept itself."""
    monkeypatch.setattr(_open_spans, "_MAX_BYTES", 100)
    open_spans = OpenSpans()
    for span_id, size in enumerate((50, 101, 40)):
        open_spans.opened(start(span_id, size))
    assert [key[1] for key in open_spans.take_all()] == [0, 2]


class Changing(dict[Any, Any]):
    """As when another thread adds an entry between any two steps."""

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("dictionary changed size during iteration")


def test_what_a_filter_said_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten, without a lock: who meets another thread in there leaves it to the next."""
    monkeypatch.setattr(_selection, "_MAX_SPANS", 20)
    selection, busy = Selection(lambda span: False), Selection(lambda span: False)
    busy._left_out = Changing()
    for span_id in range(1, 101):
        selection.started((TRACE_ID, span_id), ended_span(span_id))
        busy.started((TRACE_ID, span_id), ended_span(span_id))
    assert [span_id for span_id in range(1, 101) if not selection.is_exported((TRACE_ID, span_id))] == [*range(81, 101)]
    assert not busy.is_exported((TRACE_ID, 100))


def test_a_span_ended_in_another_thread_or_twice_is_one_row(server: StubServer, traced: Traced) -> None:
    """Wherever and however often it ends: one START, one END."""
    provider, processor = traced(server.url)
    spans: list[Any] = [provider.get_tracer("t").start_span(f"span {number}") for number in range(20)]
    threads = [threading.Thread(target=span.end) for span in spans for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert processor.force_flush()
    assert list(upserts(server.items).values()) == [["start", "end"]] * 20
