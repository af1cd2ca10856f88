"""OpenInference: kinds, `input.value` and `output.value`, and lists flattened into numbered keys."""

from __future__ import annotations

from typing import Any

from otel_sgp_exporter._mapping._reader import Reader, decode, dig
from otel_sgp_exporter._mapping._source import CHAIN, KindRule, Source, indexed

SPAN_KIND = KindRule(
    "openinference.span.kind",
    {
        "llm": "COMPLETION",
        "agent": "AGENT_WORKFLOW",
        "tool": "CODE_EXECUTION",
        "retriever": "KB_RETRIEVAL",
        "reranker": "RERANKING",
        "embedding": "EXTERNAL_ENDPOINT",
        "guardrail": "GUARDRAIL",
        "evaluator": "EVALUATION",
        "prompt": "PROMPT_ENGINEERING",
        "decision": "CUSTOM",
        "chain": CHAIN,
    },
)

_RERANK_INPUT = "reranker.input_documents."


def _by_mime_type(reader: Reader, key: str) -> Any:
    declared = reader.get(key.replace(".value", ".mime_type"))
    return reader.get(key) if declared not in (None, "application/json") else reader.value(key)


def _texts(reader: Reader, key: str) -> Any:
    embeddings = [dig(item, ("embedding", "text")) for item in reader.family(key)]
    return [item for item in embeddings if item is not None] or None


def _vector_sizes(reader: Reader, key: str) -> Any:
    vectors = [dig(item, ("embedding", "vector")) for item in reader.family(key)]
    sizes = [len(vector) for vector in vectors if isinstance(vector, (list, tuple))]
    return {"embedding_count": len(sizes), "dimensions": sizes[0]} if sizes else None


def _reranked(reader: Reader, key: str) -> Any:
    reader.use((_RERANK_INPUT,))
    return {"query": reader.get(key), "documents": reader.family(_RERANK_INPUT)}


def _schemas(reader: Reader, key: str) -> Any:
    schemas = (dig(item, ("tool", "json_schema")) for item in reader.family(key))
    return [decode(schema) if isinstance(schema, str) else schema for schema in schemas]


def _template(reader: Reader, key: str) -> Any:
    return {"template": reader.get(key), "variables": reader.value("llm.prompt_template.variables")}


INPUT_VALUE = Source("input.value", _by_mime_type)
OUTPUT_VALUE = Source("output.value", _by_mime_type)
INPUT_MESSAGES = Source("llm.input_messages.", indexed)
OUTPUT_MESSAGES = Source("llm.output_messages.", indexed)
PROMPTS = Source("llm.prompts")
DOCUMENTS = Source("retrieval.documents.", indexed)
RERANK_QUERY = Source("reranker.query", _reranked)
RERANKED_DOCUMENTS = Source("reranker.output_documents.", indexed)
EMBEDDED_TEXTS = Source("embedding.embeddings.", _texts)
VECTOR_SIZES = Source("embedding.embeddings.", _vector_sizes)
TEMPLATE = Source("llm.prompt_template.template", _template, is_copy=False)
TOOLS = Source("llm.tools.", _schemas)

INVOCATION_PARAMETERS = "llm.invocation_parameters"
