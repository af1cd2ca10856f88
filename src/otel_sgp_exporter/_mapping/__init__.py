"""OpenTelemetry spans as SGP items: a pure function of a record, one table module per convention."""

from otel_sgp_exporter._mapping._explicit import identifier
from otel_sgp_exporter._mapping._ids import sgp_span_id, sgp_trace_id, timestamp
from otel_sgp_exporter._mapping._item import named_group, to_item
from otel_sgp_exporter._mapping._memory import TraceMemory
from otel_sgp_exporter._mapping._privacy import MappingOptions

__all__ = [
    "MappingOptions",
    "TraceMemory",
    "identifier",
    "named_group",
    "sgp_span_id",
    "sgp_trace_id",
    "timestamp",
    "to_item",
]
