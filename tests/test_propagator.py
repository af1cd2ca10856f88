"""The mark in tracestate: on what is exported, beside everything else, and understood on the other side."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry import context, propagate, trace
from opentelemetry.baggage import set_baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter, default_setter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, format_span_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_sgp_exporter import _attach
from otel_sgp_exporter._propagator import SGPPropagator, install, marked

W3C = TraceContextTextMapPropagator()
PROVIDER = TracerProvider(shutdown_on_exit=False)


@pytest.fixture(autouse=True)
def _propagators() -> Iterator[None]:
    there = propagate.get_global_textmap()
    yield
    propagate.set_global_textmap(there)


def remote(state: Sequence[tuple[str, str]] = ()) -> context.Context:
    where = SpanContext(0xA, 0xB, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState(list(state)))
    return trace.set_span_in_context(NonRecordingSpan(where))


def sent(within: context.Context) -> dict[str, str]:
    """The headers of a request."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, within)
    return carrier


def running(state: Sequence[tuple[str, str]] = (), provider: TracerProvider = PROVIDER) -> tuple[context.Context, str]:
    """A context with a span of ours, in a trace that comes from elsewhere, and the span's id."""
    span = provider.get_tracer("t").start_span("s", remote(state))
    return trace.set_span_in_context(span), format_span_id(span.get_span_context().span_id)


def own_id(span: trace.Span) -> int:
    return span.get_span_context().span_id


ours = SGPPropagator(own_id)


@pytest.mark.parametrize(
    "propagators",
    [[W3C, ours], [ours, W3C], [W3C, W3CBaggagePropagator(), ours], [ours], [W3C]],
    ids=["after", "before", "with baggage", "alone", "not named"],
)
def test_it_composes_in_any_order(propagators: list[TextMapPropagator]) -> None:
    """Installed behind what there is, the mark is there, in front of what others wrote; baggage travels on."""
    propagate.set_global_textmap(CompositePropagator(propagators))
    install(own_id)
    within, span_id = running([("other", "1"), ("sgp", "00000000000000ff")])
    headers = sent(set_baggage("k", "v", within))
    assert headers["tracestate"] == f"sgp={span_id},other=1"
    assert ("traceparent" in headers) == (W3C in propagators)
    assert ("baggage" in headers) == any(isinstance(one, W3CBaggagePropagator) for one in propagators)


def test_named_first_in_the_variable_it_moves_behind_at_first_use() -> None:
    """Without `configure()` or the loader nobody installs it; the first request tells it where it stands."""
    propagate.set_global_textmap(CompositePropagator([SGPPropagator(own_id), W3C]))
    within, span_id = running([("other", "1")])
    sent(within)
    assert sent(within)["tracestate"] == f"sgp={span_id},other=1"


def test_installed_once() -> None:
    """However often set-up runs, the chain does not grow."""
    install(own_id)
    there = propagate.get_global_textmap()
    install(own_id)
    assert propagate.get_global_textmap() is there


class Other(TextMapPropagator):
    """As B3: other headers than W3C's."""

    def inject(self, carrier, context=None, setter=default_setter) -> None:  # type: ignore[no-untyped-def]
        setter.set(carrier, "b3", "1")

    def extract(self, carrier, context=None, getter=default_getter):  # type: ignore[no-untyped-def]
        return context

    @property
    def fields(self) -> set[str]:
        return {"b3"}


@pytest.mark.parametrize(("there", "headers"), [([], {}), ([Other()], {"b3": "1"})], ids=["none", "b3"])
def test_who_chose_other_headers_gets_no_more(there: list[TextMapPropagator], headers: dict[str, str]) -> None:
    """`OTEL_PROPAGATORS=none` means none; and who does not read traceparent does not read the mark."""
    propagate.set_global_textmap(CompositePropagator(there))
    install(own_id)
    assert sent(running()[0]) == headers


def test_a_request_is_sent_whatever_happens(caplog: pytest.LogCaptureFixture) -> None:
    """A span of an odd kind costs the mark, and one line in the log."""
    propagate.set_global_textmap(W3C)
    install(lambda span: 1 // 0)
    for _ in range(2):
        headers = sent(running()[0])
        assert ("traceparent" in headers, "tracestate" in headers) == (True, False)
    assert caplog.messages == ["A request could not be marked for SGP; this is said once"]


def test_only_exported_spans_are_marked() -> None:
    """Not sampled, not ours, not from this process: what came in goes out."""
    propagate.set_global_textmap(W3C)
    install(lambda span: own_id(span) if getattr(span, "resource", None) is PROVIDER.resource else 0)
    came = [("sgp", "00000000000000ff")]
    for within in (
        running(came, TracerProvider(ALWAYS_OFF, shutdown_on_exit=False))[0],
        running(came, TracerProvider(shutdown_on_exit=False))[0],
        remote(came),
    ):
        assert sent(within)["tracestate"] == "sgp=00000000000000ff"
    assert sent(context.Context()) == {}
    assert "tracestate" not in sent(running(provider=TracerProvider(ALWAYS_OFF, shutdown_on_exit=False))[0])


def test_a_caller_s_span_is_not_ours() -> None:
    """A request passed on without a span of this process keeps the caller's mark, or none."""
    propagate.set_global_textmap(W3C)
    install(own_id)
    assert sent(remote([("sgp", "00000000000000ff")]))["tracestate"] == "sgp=00000000000000ff"
    assert "tracestate" not in sent(remote())


@pytest.mark.parametrize(
    "others", [[(f"k{number}", "v") for number in range(32)], [(f"k{number}", "v" * 100) for number in range(6)]]
)
def test_a_full_tracestate_loses_its_oldest_members(others: list[tuple[str, str]]) -> None:
    """32 members and 512 characters are what W3C grants; more of it and the next hop reads none."""
    state = marked(TraceState(others), 0xB)
    assert list(state.items()) == [("sgp", "000000000000000b"), *others[: len(state) - 1]]
    assert len(state) == min(32, 1 + (512 - 20) // (len(others[0][0]) + len(others[0][1]) + 2))
    assert len(state.to_header()) <= 512


def test_extracting_changes_nothing() -> None:
    """Reading tracestate is W3C's business."""
    within = remote()
    assert ours.extract({"tracestate": "sgp=1"}, within) is within
    assert ours.extract({}) == {}
    assert ours.fields == {"tracestate"}


def test_a_processor_that_was_added_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named in OTEL_PROPAGATORS, the mark follows the processor's presence; with `configure()`, its providers."""
    script = """
import sys
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
def tracestate():
    carrier = {}
    with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("s"):
        propagate.inject(carrier)
    return carrier.get("tracestate")
before = tracestate()
from otel_sgp_exporter import ConcurrentBatchSpanProcessor
after = tracestate()
sys.exit(0 if before is None and after is not None else f"{before} {after}")
"""
    monkeypatch.setenv("OTEL_PROPAGATORS", "sgp,tracecontext")
    if not _is_installed("opentelemetry_propagator"):
        pytest.skip("the entry points of this package are not installed: pip install -e .")
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_a_process_that_could_not_be_set_up_marks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody attached anything and the processor was never imported."""
    monkeypatch.setattr(_attach, "_attached", [])
    monkeypatch.delitem(sys.modules, "otel_sgp_exporter._processor", raising=False)
    assert _attach.exported_id(trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)) == 0


def _is_installed(group: str) -> bool:
    from importlib.metadata import entry_points

    return any(point.value.startswith("otel_sgp_exporter.") for point in entry_points(group=group))
