"""Tells the services that we call which of our spans is in SGP: member `sgp` of the W3C header `tracestate`."""

from __future__ import annotations

import logging
from collections.abc import Callable

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import Span, TraceState, format_span_id

from ._joined import MEMBER, joined_seal

_logger = logging.getLogger(__package__)

_HEADER = "tracestate"
_W3C_HEADERS = {"traceparent", _HEADER}
# What every hop has to pass on, says W3C; beyond it the oldest members, the right-most, go first.
_MAX_CHARACTERS = 512
_MAX_MEMBERS = 32


class SGPPropagator(TextMapPropagator):
    """Marks outgoing requests with the id of the span that SGP should show the callee's spans under.

    The id and not a mere flag, because the caller's own span may be one that is not exported, and because tracestate
    travels on through services that know nothing of SGP. Where nothing of this process is exported, what came in is
    passed on.

    Args:
        exported_id: The id of a sampled span of this process, or of its nearest ancestor that goes to SGP; 0 for none.
    """

    def __init__(self, exported_id: Callable[[Span], int]) -> None:
        self._exported_id = exported_id
        self._may_be_overwritten = True
        self._complained = False

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Add the mark to what W3C's propagator writes. Never raises: the request comes first."""
        try:
            self._mark(carrier, trace.get_current_span(context), setter)
        except Exception:
            if not self._complained:
                self._complained = True
                _logger.exception("A request could not be marked for SGP; this is said once")

    def _mark(self, carrier: CarrierT, span: Span, setter: Setter[CarrierT]) -> None:
        if self._may_be_overwritten:
            self._may_be_overwritten = False
            install(self._exported_id)
        where = span.get_span_context()
        if where.is_valid and where.trace_flags.sampled and not where.is_remote:
            span_id = self._exported_id(span)
            if span_id:
                setter.set(carrier, _HEADER, marked(where.trace_state, span_id, joined_seal(span)).to_header())

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """W3C's propagator reads tracestate, and the mapping finds the mark there: nothing to do."""
        return Context() if context is None else context

    @property
    def fields(self) -> set[str]:
        """The header that `inject` may set."""
        return {_HEADER}


class _Marking(CompositePropagator):
    """The propagators that there were, and ours after them: whoever writes tracestate last is read."""


def install(exported_id: Callable[[Span], int]) -> None:
    """Put the mark behind the global propagators if these are W3C's. Again is harmless.

    Who chose none wants no headers, and who chose others (B3) has services that do not read this one.
    """
    there = propagate.get_global_textmap()
    if not isinstance(there, _Marking) and _W3C_HEADERS.intersection(there.fields):
        ours = SGPPropagator(exported_id)
        ours._may_be_overwritten = False
        propagate.set_global_textmap(_Marking([there, ours]))


def marked(state: TraceState, span_id: int, seal: str = "") -> TraceState:
    """`state` with the span id as our member, in front as W3C wants the latest; and the seal of a joined trace."""
    mark = f"{format_span_id(span_id)}.{seal}" if seal else format_span_id(span_id)
    members = [(MEMBER, mark)]
    characters = len(MEMBER) + 1 + len(mark)
    for key, value in state.items():
        characters += len(key) + len(value) + 2
        if key != MEMBER and characters <= _MAX_CHARACTERS and len(members) < _MAX_MEMBERS:
            members.append((key, value))
    return TraceState(members)
