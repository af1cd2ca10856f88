"""The 409s: a parent that belongs to another trace, or spans that are each other's ancestors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from .refusal import refused
from .validation import Span


def check_parents(spans: Sequence[Span], stored: Mapping[str, str]) -> None:
    """Refuse the batch with 409 when a span cannot have its parent; an unknown parent is no objection.

    Args:
        spans: the batch.
        stored: trace id by span id of the parents outside the batch, as far as they are looked up.
    """
    traces: defaultdict[str, set[str]] = defaultdict(set)
    parents: dict[tuple[str, str], str | None] = {}
    for span in spans:
        traces[span["id"]].add(span["trace_id"])
        parents[span["trace_id"], span["id"]] = span["parent_id"]
    for span in spans:
        parent = span["parent_id"]
        known = traces.get(parent) or {stored.get(parent, span["trace_id"])}
        if parent is not None and span["trace_id"] not in known:
            raise refused(409, f"Parent span {parent} of span {span['id']} belongs to another trace")
    _check_cycles(parents)


def outside_parents(spans: Sequence[Span]) -> set[str]:
    """The parent ids that the batch itself does not explain."""
    return {span["parent_id"] for span in spans if span["parent_id"] is not None} - {span["id"] for span in spans}


def _check_cycles(parents: dict[tuple[str, str], str | None]) -> None:
    settled: set[tuple[str, str]] = set()
    for start in parents:
        path: set[tuple[str, str]] = set()
        here = start
        while here in parents and here not in settled:
            if here in path:
                raise refused(409, f"Span {here[1]} is its own ancestor")
            path.add(here)
            here = (here[0], parents[here] or "")
        settled |= path
