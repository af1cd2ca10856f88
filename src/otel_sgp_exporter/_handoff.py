"""One span, two processes: `handoff` where it starts, `resume` where it ends."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, cast
from weakref import WeakSet

from opentelemetry import baggage, context, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.util.types import Attributes

from . import _attach, _custody
from ._joined import GROUP, TRACE
from ._token import Begun, Token, decoded, encoded

_RANDOM = 0x02  # W3C's flag, which SDKs before 1.40 have no name for

# Those that this process will not end, after all.
_handed_off: WeakSet[Span] = WeakSet()


def handoff(span: Span) -> dict[str, Any]:
    """Let another process end `span`: everything that `resume` needs there, as plain JSON.

    The span is forgotten here: it is not closed as CANCELED at shutdown. Its START is still sent, for five seconds if
    need be. Do not end it here (start it with `start_span`, not `start_as_current_span`), and hand it off only when
    all that this process has to say is on it. Waits for nothing but a lock.

    Args:
        span: A started span of any tracer. One that records nothing makes a token that resumes as nothing.

    Returns:
        About as much as the span holds, attributes included: keep it where you may keep prompts.

    Raises:
        ValueError: The span has ended.
    """
    where = span.get_span_context()
    readable = _readable(span)
    if readable is not None and readable.end_time is not None:
        raise ValueError("a span that has ended cannot be handed off")
    is_sampled = where.is_valid and where.trace_flags.sampled
    known = _custody.hand_off(where.trace_id, where.span_id) if is_sampled else _custody.Resumed()
    _handed_off.add(span)
    return encoded(readable, where, known, time.time_ns())


def _readable(span: Span) -> ReadableSpan | None:
    """`span` as one that can be read; Temporal's wrapper is no such class, but has all its members."""
    is_readable = isinstance(span, ReadableSpan) or hasattr(span, "instrumentation_scope")
    return cast(ReadableSpan, span) if is_readable else None


def resume(
    token: Mapping[str, Any],
    *,
    tracer_provider: trace.TracerProvider | None = None,
    record_exception: bool = True,
    set_status_on_exception: bool = True,
    end_on_exit: bool = True,
) -> AbstractContextManager[Span]:
    """Go on with a span that was handed off, in any process, and end it.

    Inside the block the span is current and recording, with the ids, parent, start time, attributes, events and links
    that it had, and the resource of this process. Its END replaces the row of its START; no START is sent. Blocks may
    be entered in any thread, and around `await`. A token may be resumed again, when a worker died or an attempt
    failed: each END replaces the one before. A span that is handed off inside the block is not ended by it.

    Args:
        token: What `handoff` returned, as it is or through JSON.
        tracer_provider: Of the span; the global one unless set.
        record_exception: As for `start_as_current_span`. An exception that is no error (a cancelled task) closes the
            span as CANCELED.
        set_status_on_exception: As for `start_as_current_span`.
        end_on_exit: False leaves the span open for `end()`, or for another `resume` of the same token.

    Raises:
        ValueError: The token is none of ours, or damaged; the text names the field. At once, not in the block.
    """
    taken = decoded(token, time.time_ns())
    return _resumed(
        taken, tracer_provider or trace.get_tracer_provider(), record_exception, set_status_on_exception, end_on_exit
    )


@contextmanager
def _resumed(
    token: Token, provider: trace.TracerProvider, record_exception: bool, set_status: bool, end_on_exit: bool
) -> Iterator[Span]:
    span = _span_of(token, provider)
    with ExitStack() as stack:
        if end_on_exit:
            stack.callback(_end, span)
        if token.begun is not None:
            stack.callback(context.detach, context.attach(_with_baggage(token.begun.attributes)))
        stack.enter_context(trace.use_span(span, record_exception=record_exception, set_status_on_exception=set_status))
        try:
            yield span
        except Exception:
            raise  # for `use_span`, which leaves out what is no error
        except BaseException as stop:
            if record_exception:
                span.record_exception(stop, escaped=True)
            raise


def _end(span: Span) -> None:
    if span not in _handed_off and span.is_recording():
        span.end()


def _with_baggage(attributes: Mapping[str, Any]) -> Context:
    """What the spans of other services need to join the same trace of SGP."""
    here = context.get_current()
    for key, name in ((TRACE, "sgp.trace_id"), (GROUP, "sgp.group_id")):
        if key in attributes:
            here = baggage.set_baggage(name, attributes[key], here)
    return here


def _span_of(token: Token, provider: trace.TracerProvider) -> Span:
    """A span of the SDK with the ids of the token.

    Only an IdGenerator can choose a span's id, and only a Sampler its tracestate. Both are public members of the
    SDK's `Tracer`, so that a copy of the provider's own, with these two exchanged, starts it: with the resource,
    limits and processors of the user, whatever they are. A provider of our own would need one for each span, which
    newer SDKs never let go again (they register a fork hook for each), and has no public way to the processors.
    """
    begun, where = token.begun, token.context
    if begun is None:
        return NonRecordingSpan(where)
    tracer = _sdk_tracer(provider, begun)
    if tracer is None:
        return NonRecordingSpan(where)
    tracer.id_generator = _Ids(where)
    tracer.sampler = _AsBefore(where)
    parent = trace.INVALID_SPAN if begun.parent is None else NonRecordingSpan(begun.parent)
    within = context.set_value(_custody.RESUMED, token.resumed, trace.set_span_in_context(parent))
    span = tracer.start_span(begun.name, within, begun.kind, _attributes(begun), begun.links, begun.start_ns)
    for event in begun.events:
        span.add_event(event.name, event.attributes, event.time_ns)
    span.set_status(begun.status)
    return span


def _sdk_tracer(provider: trace.TracerProvider, begun: Begun) -> Tracer | None:
    scope = begun.scope
    tracer: Any = provider.get_tracer(
        scope.name or __package__, scope.version, scope.schema_url, scope.attributes or None
    )
    while tracer is not None and not isinstance(tracer, Tracer):  # Logfire and Temporal wrap the SDK's
        tracer = next((held for held in vars(tracer).values() if isinstance(held, trace.Tracer)), None)
    if tracer is None and not _attach.switched_off():
        _attach.say_once(f"A resumed span is not recorded: {type(provider).__qualname__} has no tracer of the SDK")
    found: Tracer | None = copy.copy(tracer)
    return found


def _attributes(begun: Begun) -> dict[str, Any]:
    """Those of the span, and which process has started it: its resource will be the one that ends it."""
    origin = json.dumps(dict(begun.origin), ensure_ascii=False)
    return {"sgp.metadata.started_in": origin, **begun.attributes} if begun.origin else dict(begun.attributes)


class _Ids(IdGenerator):
    """Gives out the ids that the span has."""

    def __init__(self, where: SpanContext) -> None:
        self._where = where

    def generate_span_id(self) -> int:
        return self._where.span_id

    def generate_trace_id(self) -> int:
        return self._where.trace_id

    def is_trace_id_random(self) -> bool:
        """Asked by newer SDKs, of roots."""
        return bool(self._where.trace_flags & _RANDOM)


class _AsBefore(Sampler):
    """Decides what was decided when the span started."""

    def __init__(self, where: SpanContext) -> None:
        self._where = where

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        is_sampled = self._where.trace_flags & TraceFlags.SAMPLED
        decision = Decision.RECORD_AND_SAMPLE if is_sampled else Decision.RECORD_ONLY
        return SamplingResult(decision, attributes, self._where.trace_state)

    def get_description(self) -> str:
        return "AsBefore"
