"""Where in SGP a span belongs: its trace, its parent, its group."""

from __future__ import annotations

from typing import NamedTuple

from otel_sgp_exporter._joined import GROUP, PARENT, TRACE, seal_of
from otel_sgp_exporter._mapping._explicit import identifier
from otel_sgp_exporter._mapping._ids import sgp_span_id, sgp_trace_id
from otel_sgp_exporter._mapping._layout import Layout
from otel_sgp_exporter._mapping._origin import read_parent
from otel_sgp_exporter._mapping._privacy import MappingOptions
from otel_sgp_exporter._mapping._reader import Reader
from otel_sgp_exporter._record import Record

_KEYS = frozenset({TRACE, PARENT, GROUP})


class Place(NamedTuple):
    """Ids as SGP knows them, and the W3C parent where that is another or none."""

    trace_id: str
    parent_id: str | None
    unlinked: int | None


def joined_group(reader: Reader) -> str | None:
    """The group that the span was told to join."""
    return identifier(reader.get(GROUP)) if reader.layout[_has_joined] else None


def _has_joined(layout: Layout) -> bool:
    return not layout.present.isdisjoint(_KEYS)


def read_place(record: Record, reader: Reader, options: MappingOptions, exported: int | None) -> Place:
    """A parent is linked only in the same trace of SGP: it refuses the whole request for any other with 409.

    Args:
        record: Of the span.
        reader: Its attributes.
        options: Say which remote parents are linked.
        exported: As for `read_parent`.
    """
    trace_id, _ = record.key
    joined, instead = None, None
    if reader.layout[_has_joined]:
        reader.used.update(_KEYS)
        joined, instead = identifier(reader.get(TRACE)), reader.get(PARENT)
    linked, unlinked = read_parent(record, options, exported, seal_of(joined))
    parent_id = None if linked is None else sgp_span_id(trace_id, linked)
    if instead is not None:
        is_remote = record.parent is not None and record.parent.is_remote
        if not (is_remote and linked):
            parent_id, unlinked = identifier(instead), unlinked or linked
    return Place(joined or sgp_trace_id(trace_id), parent_id, unlinked)
