"""One record as the SGP item that is upserted for it."""

from __future__ import annotations

from typing import Any

from otel_sgp_exporter._mapping._events import said_in
from otel_sgp_exporter._mapping._explicit import EXPECTED, OUTPUT, Overrides, identifier
from otel_sgp_exporter._mapping._facts import GROUP_ID
from otel_sgp_exporter._mapping._ids import sgp_span_id, timestamp, w3c_span_id, w3c_trace_id
from otel_sgp_exporter._mapping._memory import TraceMemory
from otel_sgp_exporter._mapping._metadata import Metadata, add_attributes, read_facts
from otel_sgp_exporter._mapping._origin import read_origin, time_to_first_token_ms
from otel_sgp_exporter._mapping._payload import read_input, read_output
from otel_sgp_exporter._mapping._place import joined_group, read_place
from otel_sgp_exporter._mapping._precedence import FAMILIES
from otel_sgp_exporter._mapping._privacy import MappingOptions
from otel_sgp_exporter._mapping._reader import REDACTED, Reader
from otel_sgp_exporter._mapping._shapes import Payload, wrapped
from otel_sgp_exporter._mapping._status import Status, read_status
from otel_sgp_exporter._mapping._tidy import Tidy
from otel_sgp_exporter._mapping._types import decide
from otel_sgp_exporter._mapping._usage import BILLED_TYPES, is_billed, read_usage
from otel_sgp_exporter._record import END, START, Record

_DEFAULT_OPTIONS = MappingOptions()


def to_item(
    record: Record,
    options: MappingOptions = _DEFAULT_OPTIONS,
    memory: TraceMemory | None = None,
    parent_span_id: int | None = None,
) -> dict[str, Any]:
    """Map a record to its item. Any thread may call it; it never blocks.

    Args:
        record: A START or an END.
        options: What the user chose.
        memory: What is known of other records, shared by all calls; without it every record stands alone.
        parent_span_id: W3C id of the nearest exported ancestor where the parent itself is not exported; 0 for none.

    Returns:
        The item, ready for JSON but for odd leaves (NaN, bytes, lone surrogates, keys that are no text).
    """
    return _Mapping(record, options, TraceMemory() if memory is None else memory).item(parent_span_id)


def named_group(record: Record, memory: TraceMemory) -> str | None:
    """The group that the span's own attributes name."""
    reader = Reader(record.attributes, FAMILIES)
    return _group_in(reader, Overrides(reader, memory))


def _group_in(reader: Reader, given: Overrides) -> str | None:
    return given.group_id or joined_group(reader) or reader.first(GROUP_ID, identifier)


class _Mapping:
    """The mapping of one record. Each part uses up attributes, so that the metadata, built last, repeats none."""

    def __init__(self, record: Record, options: MappingOptions, memory: TraceMemory) -> None:
        self.is_end = record.phase is END
        opened = memory.recall_start(record.key) if self.is_end else None
        self.record = record
        self.options = options
        self.memory = memory
        attributes = {**opened.attributes, **record.attributes} if opened else record.attributes
        if record.events:
            attributes = {**said_in(record.events), **attributes}
        self.reader = Reader(attributes, FAMILIES)
        self.given = Overrides(self.reader, memory)
        self.type = self.given.type or decide(self.reader, record).type
        self.group_id = memory.inherit_group(record.key[0], _group_in(self.reader, self.given)) or (
            opened.group_id if opened else None
        )
        self.notes: Metadata = {}
        if record.phase is START:
            memory.remember_start(record, self.group_id)

    def item(self, parent_span_id: int | None) -> dict[str, Any]:
        """The members in the order of the contract; a START leaves out those that are still empty."""
        record = self.record
        trace_id, span_id = record.key
        place = read_place(record, self.reader, self.options, parent_span_id)
        if place.unlinked is not None:
            self.notes["otel_parent_span_id"] = w3c_span_id(place.unlinked)
        status = read_status(record, self.reader)
        expected = self._expected()
        item: dict[str, Any] = {
            "name": self.given.name or str(record.name or "unnamed"),
            "id": sgp_span_id(trace_id, span_id),
            "trace_id": place.trace_id,
            "start_timestamp": timestamp(record.start_ns),
        }
        if record.end_ns is not None:
            item["end_timestamp"] = self._end(record.start_ns, record.end_ns)
        if (found := self._input()) or self.is_end:
            item["input"] = found
        if (found := self._output()) or self.is_end:
            item["output"] = found
        item["metadata"] = self._metadata(status)
        item["status"] = status.code
        item["type"] = self.type
        if place.parent_id:
            item["parent_id"] = place.parent_id
        if self.group_id:
            item["group_id"] = self.group_id
        item["obs_trace_id"] = w3c_trace_id(trace_id)
        item["obs_span_id"] = w3c_span_id(span_id)
        if self.given.application:
            item.update(self.given.application)
        if expected or (self.is_end and expected is not None):
            item["expected"] = expected
        return item

    def _end(self, start: int, end: int) -> str:
        if end < start:
            self.notes["end_before_start_ns"] = start - end
        return timestamp(max(end, start))

    def _input(self) -> Payload:
        found = read_input(self.reader, self.type, self.options.hide_inputs)
        return self._tidied(found.payload) if found else {}

    def _output(self) -> Payload:
        found = read_output(self.reader, self.type, self.options.hide_outputs)
        usage = read_usage(self.reader)
        output = self._tidied(found.payload) if found else {}
        billed = bool(usage) and self._is_billed()
        # SGP bills a `usage` at the top of any output: what an agent or a tool returned must not look like one.
        if "usage" in output and not billed and found and found.key != OUTPUT:
            output = {"output": output}
        if billed:
            output = {**output, "usage": usage}  # not into it: it may be an attribute of the span
        elif usage:
            self.notes["usage_suppressed" if self.type in BILLED_TYPES else "aggregated_usage"] = usage
        return output

    def _is_billed(self) -> bool:
        if self.type not in BILLED_TYPES or not is_billed(self.reader):
            return False
        parent = self.record.parent
        if parent is not None and self.record.phase is END:
            self.memory.note_billed((parent.trace_id, parent.span_id), self.type)
        return not self.memory.has_billed_child(self.record.key, self.type)

    def _metadata(self, status: Status) -> Metadata:
        metadata = read_origin(self.record, self.reader, self.options)
        metadata |= read_facts(self.reader)
        first_token = time_to_first_token_ms(self.record, self.reader)
        if first_token is not None:
            metadata["time_to_first_token_ms"] = first_token
        metadata |= status.fields
        metadata |= self.notes
        if add_attributes(metadata, self.reader, self.options.hidden_keys, self.group_id) or self.reader.cut:
            metadata["truncated"] = True
        return metadata

    def _expected(self) -> Payload | None:
        if EXPECTED not in self.reader.keys or not self.reader.has(EXPECTED):
            return None
        self.reader.use((EXPECTED,))
        return {"expected": REDACTED} if self.options.hide_outputs else wrapped("expected", self.reader.value(EXPECTED))

    def _tidied(self, payload: Payload) -> Payload:
        tidy = Tidy()
        tidied: Payload = tidy(payload)
        if tidy.cut:
            self.notes["truncated"] = True
        return tidied
