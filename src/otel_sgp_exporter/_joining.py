"""Baggage that says which trace of SGP to join: read when a span starts, and written on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span

from ._joined import GROUP, PARENT, TRACE
from ._mapping import identifier, sgp_trace_id
from ._selection import Selection

BAGGAGE_TRACE, BAGGAGE_PARENT, BAGGAGE_GROUP = "sgp.trace_id", "sgp.parent_id", "sgp.group_id"

_logger = logging.getLogger(__package__)


class Joining:
    """Has spans join the trace that baggage names, and the children of such spans follow, with or without baggage.

    Needs no lock: all it remembers is whether there was such a span, and what it has warned of.
    """

    def __init__(self) -> None:
        self._in_use = False
        self._warned: set[str] = set()

    def concerns(self, span: Span, context: Context) -> bool:
        """Whether `span` may have to join, or is resumed: `context` holds more than its parent."""
        return self._in_use or len(context) > (span.parent is not None)

    def resumed(self, span: Span) -> None:
        """The span was told in another process what to join; its children here follow."""
        self._in_use = self._in_use or TRACE in (span.attributes or {})

    def join(self, span: Span, context: Context, selection: Selection | None) -> None:
        """Write on `span` what it joins."""
        entries = baggage.get_all(context)
        wanted = self._id_of(entries, BAGGAGE_TRACE)
        if wanted is None and BAGGAGE_PARENT in entries:
            self._warn_once("%s is ignored: it means nothing without %s", BAGGAGE_PARENT, BAGGAGE_TRACE)
        group = self._id_of(entries, BAGGAGE_GROUP)
        if group is not None:
            span.set_attribute(GROUP, group)
        if wanted is not None or self._in_use:
            self._join_trace(span, wanted, self._id_of(entries, BAGGAGE_PARENT), _above(span, context), selection)

    def _join_trace(
        self, span: Span, wanted: str | None, parent: str | None, above: trace.Span | None, selection: Selection | None
    ) -> None:
        own = sgp_trace_id(span.get_span_context().trace_id)
        attributes = getattr(above, "attributes", None) or {}
        its = str(attributes.get(TRACE, own)) if above else None
        joined = wanted or its or own
        if joined != own:
            self._in_use = True
            span.set_attribute(TRACE, joined)
        if wanted is not None and joined != its:
            span.set_attribute(PARENT, parent or "")
        elif above and selection and PARENT in attributes and not selection.is_exported(_key(above)):
            span.set_attribute(PARENT, attributes[PARENT])  # what stands above the one that is left out

    def _id_of(self, entries: Mapping[str, object], name: str) -> str | None:
        value = entries.get(name)
        if value is None:
            return None
        if identifier(value) != value:
            self._warn_once("The baggage %s is ignored: it is no id that SGP takes", name)
            return None
        return value

    def _warn_once(self, text: str, *names: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _logger.warning(text, *names)


def _above(span: Span, context: Context) -> trace.Span | None:
    """The parent, if it is of this process."""
    return None if span.parent is None or span.parent.is_remote else trace.get_current_span(context)


def _key(span: trace.Span) -> tuple[int, int]:
    where = span.get_span_context()
    return where.trace_id, where.span_id
