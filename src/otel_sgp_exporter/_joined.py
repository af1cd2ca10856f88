"""Spans in a trace that was created in SGP itself: how that is written on a span, and told to other processes."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2s

from opentelemetry.trace import TraceState

# Attributes of the span, so that START, END and whoever resumes it agree. Not below `sgp.`, which users set.
TRACE = "sgp_joined.trace_id"
PARENT = "sgp_joined.parent_id"
"""The id of the native span to link instead of the W3C parent, which is in another trace of SGP; empty for none."""
GROUP = "sgp_joined.group_id"


MEMBER = "sgp"
"""Of tracestate: the id of the nearest span in SGP and, behind a dot, the seal of the trace that it has joined."""


@lru_cache(1_024)
def seal_of(joined_trace_id: str | None) -> str:
    """What stands for a joined trace in tracestate, which cannot hold every id. Empty for a trace of W3C's own."""
    return blake2s(joined_trace_id.encode("utf-8", "replace"), digest_size=8).hexdigest() if joined_trace_id else ""


def joined_seal(span: object) -> str:
    """The seal of the trace that a span of this process has joined; empty for none."""
    joined = (getattr(span, "attributes", None) or {}).get(TRACE)
    return seal_of(joined) if isinstance(joined, str) else ""


def mark_in(state: TraceState) -> tuple[str | None, str]:
    """What our member says: the id, None where there is none, and the seal."""
    mark = state.get(MEMBER)
    if mark is None:
        return None, ""
    span_id, _, seal = mark.partition(".")
    return span_id, seal
