"""OpenLLMetry (Traceloop), from the flattened `gen_ai.prompt.N.*` of 0.4x to the callback blobs of today."""

from __future__ import annotations

import json
from typing import Any

from otel_sgp_exporter._mapping._reader import Reader
from otel_sgp_exporter._mapping._source import KindRule, Source, indexed

SPAN_KIND = KindRule(
    "traceloop.span.kind",
    {"workflow": "AGENT_WORKFLOW", "agent": "AGENT_WORKFLOW", "tool": "CODE_EXECUTION", "task": "CUSTOM"},
)
REQUEST_TYPE = KindRule(
    "llm.request.type",
    {"chat": "COMPLETION", "completion": "COMPLETION", "embedding": "EXTERNAL_ENDPOINT", "rerank": "RERANKING"},
)

# What LangChain's callbacks were called with or returned; the first of `_VALUES` that is there is the payload.
# `kwargs` is always there, and tells the blob from the arguments of a tool that has a parameter named `query`.
_BLOB_KEYS = frozenset({"inputs", "input_str", "query", "outputs", "output", "tags", "metadata", "kwargs"})
_VALUES = ("inputs", "query", "input_str", "outputs", "output")


def unwrapped(reader: Reader, key: str) -> Any:
    """The payload inside a callback blob; anything else as it is, a JSON text without its quotes."""
    value = reader.value(key)
    if isinstance(value, dict) and "kwargs" in value and value.keys() <= _BLOB_KEYS:
        return next((value[name] for name in _VALUES if name in value), value)
    return unquoted(value)


def unquoted(value: Any) -> Any:
    """A text that was encoded as JSON, decoded."""
    if not isinstance(value, str) or not value.startswith('"'):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


ENTITY_INPUT = Source("traceloop.entity.input", unwrapped)
ENTITY_OUTPUT = Source("traceloop.entity.output", unwrapped)
TASK_INPUT = Source("gen_ai.task.input", unwrapped)
TASK_OUTPUT = Source("gen_ai.task.output", unwrapped)
PROMPTS = Source("gen_ai.prompt.", indexed)
COMPLETIONS = Source("gen_ai.completion.", indexed)
FUNCTIONS = Source("llm.request.functions.", indexed)
