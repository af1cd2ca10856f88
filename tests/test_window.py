"""How many requests may be in flight, as the backend pushes back and recovers."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from otel_sgp_exporter import ConcurrentBatchSpanProcessor
from otel_sgp_exporter._window import Window
from support import Answer, Request, StubServer, wait_until

Traced = Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]


def test_a_backend_that_pushes_back_gets_half_as_many() -> None:
    """And never less than one."""
    window = Window(8)
    limits = []
    for second in range(5):
        window.narrow(float(second))
        limits.append(window.limit)
    assert limits == [4, 2, 1, 1, 1]


def test_those_that_were_in_flight_together_count_once() -> None:
    """Eight refusals of one overload are one sign of it."""
    window = Window(8)
    for _ in range(8):
        window.narrow(10.0)
    assert window.limit == 4


def test_every_round_of_answers_allows_one_more() -> None:
    """Back from one to eight takes seven rounds: of one, two, three, ... answers."""
    window = Window(8)
    for second in range(3):
        window.narrow(float(second))
    limits = []
    for width in range(1, 9):
        for _ in range(width + 1):
            window.widen(20.0)
        limits.append(window.limit)
    assert limits == [2, 3, 4, 5, 6, 7, 8, 8]


def test_what_was_too_many_is_not_tried_again_at_once() -> None:
    """A backend that serves so many at a time is refused little; one that has grown is found out soon."""
    window = Window(8)
    window.widen(0.0)
    window.narrow(1.0)
    for _ in range(100):
        window.widen(2.0)
    assert window.limit == 7
    for _ in range(100):
        window.widen(11.0)
    assert window.limit == 8


@given(st.integers(1, 64), st.lists(st.tuples(st.booleans(), st.floats(0, 5))))
def test_the_limit_stays_between_one_and_what_is_allowed(most: int, steps: list[tuple[bool, float]]) -> None:
    """Whatever the backend does."""
    window, now = Window(most), 0.0
    for pushed_back, seconds in steps:
        now += seconds
        window.narrow(now) if pushed_back else window.widen(now)
        assert 1 <= window.limit <= most


def spans(provider: TracerProvider, count: int) -> None:
    for _ in range(count):
        provider.get_tracer("t").start_span("span").end()


class Hanging:
    """A server that answers when it is told to."""

    def __init__(self) -> None:
        self.arrived = 0
        self.release = threading.Event()

    def __call__(self, request: Request) -> Answer | None:
        self.arrived += 1
        self.release.wait(10)
        return None


def test_more_batches_are_encoded_than_requests_are_sent(traced: Traced) -> None:
    """The next request is ready when one was answered, and never one too many goes."""
    with StubServer(hanging := Hanging()) as server:
        provider, processor = traced(server.url, max_concurrent_exports=2, max_export_batch_size=10)
        spans(provider, 100)
        senders = processor._pipeline._senders
        wait_until(lambda: (len(senders.in_flight), hanging.arrived) == (4, 2))
        hanging.release.set()
        assert processor.force_flush()
        assert server.most_in_flight == 2


@pytest.mark.parametrize("pushed_back", [429, 503])
def test_a_backend_that_recovers_gets_all_requests_again(traced: Traced, pushed_back: int) -> None:
    """While it pushes back there are fewer of them; nothing is lost either way."""
    recovered = threading.Event()
    with StubServer(lambda request: None if recovered.is_set() else Answer(pushed_back)) as server:
        provider, processor = traced(server.url, max_concurrent_exports=4, max_export_batch_size=10)
        assert processor.stats().concurrency == 4
        spans(provider, 10)
        wait_until(lambda: processor.stats().concurrency == 1)
        recovered.set()
        assert processor.force_flush()
        spans(provider, 200)
        assert processor.force_flush()
        assert processor.stats().concurrency == 4
        assert processor.stats().spans_delivered == 210


def test_batches_that_wait_for_their_turn_are_not_sent_into_a_silence(traced: Traced) -> None:
    """They go back to the queue when the server asks another sender for silence, and arrive after it."""
    asked = threading.Event()

    def script(request: Request) -> Answer | None:
        if asked.is_set():
            return None
        wait_until(lambda: len(processor._pipeline._senders.in_flight) == 3)
        asked.set()
        return Answer(503, {"retry-after-ms": "300"})

    with StubServer(script) as server:
        provider, processor = traced(server.url, max_concurrent_exports=1, max_export_batch_size=10)
        spans(provider, 50)
        assert processor.force_flush()
        silent, following = server.requests[:2]
        assert following.began - silent.ended >= 0.25
        assert processor.stats().spans_delivered == 50


def test_shutdown_does_not_wait_for_batches_that_wait_for_their_turn(traced: Traced) -> None:
    """Its deadline is theirs."""
    with StubServer(hanging := Hanging()) as server:
        provider, processor = traced(server.url, max_concurrent_exports=1, max_export_batch_size=10)
        spans(provider, 50)
        wait_until(lambda: (len(processor._pipeline._senders.in_flight), hanging.arrived) == (3, 1))
        processor.shutdown(200)
        wait_until(lambda: len(processor._pipeline._senders.in_flight) == 1)
        hanging.release.set()
        wait_until(lambda: processor.stats().pending == 0)
        assert len(server.requests) == 1
