"""The type of a span, and which of its attributes decided it."""

from __future__ import annotations

from typing import NamedTuple

from opentelemetry.trace import SpanKind

from otel_sgp_exporter._mapping import _langsmith
from otel_sgp_exporter._mapping._infra import OUTSIDE_CALL
from otel_sgp_exporter._mapping._layout import Layout
from otel_sgp_exporter._mapping._precedence import KINDS, LLM_FAMILIES, LLM_HINTS, TOOL_HINTS
from otel_sgp_exporter._mapping._reader import Reader
from otel_sgp_exporter._mapping._source import CHAIN, KindRule
from otel_sgp_exporter._mapping._vendors import MCP_METHOD, MCP_TOOL_CALL
from otel_sgp_exporter._record import Record

SPAN_TYPES = frozenset(
    {
        "TEXT_INPUT",
        "TEXT_OUTPUT",
        "COMPLETION_INPUT",
        "COMPLETION",
        "KB_RETRIEVAL",
        "KB_INPUT",
        "RERANKING",
        "EXTERNAL_ENDPOINT",
        "PROMPT_ENGINEERING",
        "DOCUMENT_INPUT",
        "MAP_REDUCE",
        "DOCUMENT_SEARCH",
        "DOCUMENT_PROMPT",
        "CUSTOM",
        "CODE_EXECUTION",
        "DATA_MANIPULATION",
        "EVALUATION",
        "FILE_RETRIEVAL",
        "KB_ADD_CHUNK",
        "KB_MANAGEMENT",
        "GUARDRAIL",
        "OUTPUT_GUARDRAIL",
        "TRACER",
        "AGENT_TRACER",
        "AGENT_WORKFLOW",
        "STANDALONE",
    }
)


class Decision(NamedTuple):
    """A span's type and the rule that gave it: `<key>=<value>`, `hint:...`, `infra:<key>` or `default...`."""

    type: str
    rule: str


def decide(reader: Reader, record: Record) -> Decision:
    """The first rule that applies; the default is what SGP's own SDK gives to roots and to other spans."""
    return _by_kind(reader, record) or _by_hint(reader) or _by_outside_call(reader, record) or _by_default(record)


def _kinds(layout: Layout) -> tuple[KindRule, ...]:
    return tuple(rule for rule in KINDS if rule.key in layout.present)


def _by_kind(reader: Reader, record: Record) -> Decision | None:
    for key, types in reader.layout[_kinds]:
        value = reader.attributes[key]
        found = types.get(value.lower()) if isinstance(value, str) else None
        if found == CHAIN:
            return _chain(reader, record, f"{key}={value}")
        if found:
            return Decision(found, f"{key}={value}")
    return None


def _chain(reader: Reader, record: Record, rule: str) -> Decision:
    if reader.get(_langsmith.AGENT_NAME) == record.name and _langsmith.AGENT_NODE not in reader.attributes:
        return Decision("AGENT_WORKFLOW", f"{rule}+lc_agent")
    return Decision("CUSTOM", rule) if record.parent else Decision("TRACER", f"{rule}+root")


def _by_hint(reader: Reader) -> Decision | None:
    if reader.get(MCP_METHOD) == MCP_TOOL_CALL or reader.has_any(TOOL_HINTS):
        return Decision("CODE_EXECUTION", "hint:tool")
    if reader.has_any(LLM_HINTS) or not LLM_FAMILIES.isdisjoint(reader.families):
        return Decision("COMPLETION", "hint:llm")
    return None


def _by_outside_call(reader: Reader, record: Record) -> Decision | None:
    if record.kind not in (SpanKind.CLIENT, SpanKind.PRODUCER):
        return None
    key = next(filter(reader.has, OUTSIDE_CALL), None)
    return Decision("EXTERNAL_ENDPOINT", f"infra:{key}") if key else None


def _by_default(record: Record) -> Decision:
    return Decision("STANDALONE", "default") if record.parent else Decision("TRACER", "default:root")
