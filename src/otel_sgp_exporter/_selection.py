"""Which spans are exported: a user's filter, asked once for each span, and what becomes of the children it orphans."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from ._joined import joined_seal, mark_in
from ._record import SpanKey

SpanFilter: TypeAlias = Callable[[ReadableSpan], bool]

_MAX_SPANS = 20_000
_MADE_BY_AGENTS = ("gen_ai.", "openinference.", "traceloop.", "langsmith.", "llm.", "sgp.", "mcp.")
_PATH_KEYS = ("url.path", "http.target", "http.route", "url.full", "http.url")
_HEALTH_CHECKS = ("health", "healthz", "livez", "readyz", "ready", "live", "ping", "metrics")


def agent_spans(span: ReadableSpan) -> bool:
    """A ready-made `span_filter`: everything but infrastructure noise.

    Left out are health checks, and client spans (HTTP, database) that are the root of a trace and say nothing of an
    agent: some instrumentations do not pass the context on, so that a tool's requests become traces of their own.
    """
    attributes = span.attributes or {}
    if any(key.startswith(_MADE_BY_AGENTS) for key in attributes):
        return True
    if span.kind is SpanKind.CLIENT and span.parent is None:
        return False
    if span.kind is not SpanKind.SERVER:
        return True
    path = next((str(attributes[key]) for key in _PATH_KEYS if key in attributes), span.name)
    return path.partition("?")[0].rstrip("/").rpartition("/")[2].lower() not in _HEALTH_CHECKS


class Selection:
    """Remembers what the filter said of a span when it started, and which spans stand above one that is left out.

    Bounded: the newest 20,000 spans. Needs no lock: each step is one operation of a dict, and what is forgotten is
    asked of the filter again. A filter that raises keeps the span.
    """

    def __init__(self, span_filter: SpanFilter) -> None:
        self._filter = span_filter
        self._left_out: dict[SpanKey, int] = {}  # spans that are not exported, and their nearest exported ancestor
        self._moved: dict[SpanKey, int] = {}  # exported spans whose parent is not, and the same

    def started(self, key: SpanKey, span: ReadableSpan) -> None:
        """Decide about a span."""
        parent_id = _linked_parent(span, key[0])
        ancestor = self._left_out.get((key[0], parent_id), parent_id)
        if not self._wanted(span):
            _remember(self._left_out, key, ancestor)
        elif ancestor != parent_id:
            _remember(self._moved, key, ancestor)

    def resumed(self, key: SpanKey, is_exported: bool, ancestor: int | None) -> None:
        """What was decided about a span in the process where it started."""
        if not is_exported:
            _remember(self._left_out, key, ancestor or 0)
        elif ancestor is not None:
            _remember(self._moved, key, ancestor)

    def is_exported(self, key: SpanKey) -> bool:
        """What was decided when the span started."""
        return key not in self._left_out

    def ancestor(self, key: SpanKey) -> int | None:
        """Instead of the parent's, the id to link: 0 for none; None when the parent is exported."""
        return self._moved.get(key)

    def above(self, key: SpanKey) -> int | None:
        """The nearest exported ancestor of a span that is left out, or whose parent is; else None."""
        return self._left_out.get(key, self._moved.get(key))

    def nearest(self, key: SpanKey) -> int:
        """The id of the span when it is exported, else of its nearest exported ancestor; 0 for none."""
        return self._left_out.get(key, key[1])

    def _wanted(self, span: ReadableSpan) -> bool:
        try:
            return bool(self._filter(span))
        except Exception:
            return True


def _linked_parent(span: ReadableSpan, trace_id: int) -> int:
    """The parent's id; 0 for none, and for one in another process that is not known to be in the same trace of SGP."""
    parent = span.parent
    if parent is None or parent.trace_id != trace_id:
        return 0
    if parent.is_remote and mark_in(parent.trace_state)[1] != joined_seal(span):
        return 0
    return parent.span_id


def _remember(table: dict[SpanKey, int], key: SpanKey, ancestor: int) -> None:
    table[key] = ancestor
    if len(table) > _MAX_SPANS:
        # Another thread may change it between the two steps: then the next span tries again.
        with suppress(RuntimeError, StopIteration):
            table.pop(next(iter(table)), None)
