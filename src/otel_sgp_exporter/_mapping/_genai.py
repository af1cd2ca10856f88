"""OpenTelemetry's GenAI conventions: opentelemetry-instrumentation-genai-*, openai-v2, pydantic-ai, google-adk."""

from __future__ import annotations

from typing import Any

from otel_sgp_exporter._mapping._openllmetry import unwrapped
from otel_sgp_exporter._mapping._reader import Reader
from otel_sgp_exporter._mapping._source import CHAIN, KindRule, Source, plain

OPERATION = KindRule(
    "gen_ai.operation.name",
    {
        "chat": "COMPLETION",
        "text_completion": "COMPLETION",
        "generate_content": "COMPLETION",
        "llm_request": "COMPLETION",
        "embeddings": "EXTERNAL_ENDPOINT",
        "fetch_response": "EXTERNAL_ENDPOINT",
        "execute_tool": "CODE_EXECUTION",
        "invoke_agent": "AGENT_WORKFLOW",
        "invoke_workflow": "AGENT_WORKFLOW",
        "retrieval": "KB_RETRIEVAL",
        "vector_db_retrieve": "KB_RETRIEVAL",
        "search_memory": "KB_RETRIEVAL",
        "rerank": "RERANKING",
        "create_memory": "KB_MANAGEMENT",
        "update_memory": "KB_MANAGEMENT",
        "upsert_memory": "KB_MANAGEMENT",
        "delete_memory": "KB_MANAGEMENT",
        "create_memory_store": "KB_MANAGEMENT",
        "update_memory_store": "KB_MANAGEMENT",
        "upsert_memory_store": "KB_MANAGEMENT",
        "delete_memory_store": "KB_MANAGEMENT",
        "execute_task": "CUSTOM",
        "create_agent": "CUSTOM",
        "plan": "CUSTOM",
        "chain": CHAIN,
    },
)

# Operations that report the usage of a call which another span already billed.
UNBILLED_OPERATIONS = frozenset({"fetch_response"})


def _with_instructions(reader: Reader, key: str) -> Any:
    found = reader.value(key)
    instructions = reader.value("gen_ai.system_instructions")
    if not instructions or not isinstance(found, (list, tuple)):
        return found
    reader.use(("gen_ai.system_instructions",))
    return [{"role": "system", "content": instructions}, *found]


def _embedding_size(reader: Reader, key: str) -> Any:
    return {"dimensions": reader.get(key)}


INPUT_MESSAGES = Source("gen_ai.input.messages", _with_instructions)
OUTPUT_MESSAGES = Source("gen_ai.output.messages")
# OpenLLMetry writes its callback blobs under these two.
TOOL_ARGUMENTS = Source("gen_ai.tool.call.arguments", unwrapped)
TOOL_RESULT = Source("gen_ai.tool.call.result", unwrapped)
TOOL_DEFINITIONS = Source("gen_ai.tool.definitions")
RETRIEVAL_QUERY = Source("gen_ai.retrieval.query.text", plain)
MEMORY_QUERY = Source("gen_ai.memory.query.text", plain)
RETRIEVAL_DOCUMENTS = Source("gen_ai.retrieval.documents")
MEMORY_RECORDS = Source("gen_ai.memory.records")
EMBEDDING_SIZE = Source("gen_ai.embeddings.dimension.count", _embedding_size)

REQUEST_PARAMETERS = "gen_ai.request."
