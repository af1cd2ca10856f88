"""Which convention wins, for every part of an item: the first row with something in it.

Adding a convention means adding a module with its sources, and naming them here in their place.
"""

from __future__ import annotations

from otel_sgp_exporter._mapping import (
    _genai,
    _infra,
    _langsmith,
    _openinference,
    _openllmetry,
    _vendors,
)
from otel_sgp_exporter._mapping._reader import Field, fields
from otel_sgp_exporter._mapping._source import KindRule, Source

KINDS: tuple[KindRule, ...] = (
    _openinference.SPAN_KIND,
    _langsmith.SPAN_KIND,
    _genai.OPERATION,
    _openllmetry.SPAN_KIND,
    _openllmetry.REQUEST_TYPE,
)
TOOL_HINTS = ("gen_ai.tool.name", "tool.name")
LLM_HINTS = (
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "llm.model_name",
    "llm.token_count.total",
    "gen_ai.prompt.",
    "gen_ai.completion.",
    "gcp.vertex.agent.llm_request",
)

_ANY = ""
"""The chain of every type without one of its own."""

INPUTS: dict[str, tuple[Source, ...]] = {
    "COMPLETION": (
        _genai.INPUT_MESSAGES,
        _openinference.INPUT_MESSAGES,
        _openllmetry.PROMPTS,
        _langsmith.PROMPT,
        _openinference.PROMPTS,
        _vendors.ADK_REQUEST,
        _openinference.INPUT_VALUE,
        _openllmetry.ENTITY_INPUT,
    ),
    "CODE_EXECUTION": (
        _genai.TOOL_ARGUMENTS,
        _vendors.PYDANTIC_AI_ARGUMENTS,
        _openinference.INPUT_VALUE,
        _openllmetry.ENTITY_INPUT,
        _langsmith.PROMPT,
    ),
    "KB_RETRIEVAL": (
        _genai.RETRIEVAL_QUERY,
        _genai.MEMORY_QUERY,
        _openinference.INPUT_VALUE,
        _openllmetry.ENTITY_INPUT,
        _langsmith.PROMPT,
    ),
    "RERANKING": (_openinference.RERANK_QUERY, _openinference.INPUT_VALUE),
    "EXTERNAL_ENDPOINT": (
        _openinference.EMBEDDED_TEXTS,
        _genai.INPUT_MESSAGES,
        _openllmetry.PROMPTS,
        _vendors.PYDANTIC_AI_TEXTS,
        _openinference.INPUT_VALUE,
        _infra.URL,
        _infra.URL_OLD,
        _infra.QUERY,
        _infra.STATEMENT,
    ),
    _ANY: (
        _genai.INPUT_MESSAGES,
        _vendors.PYDANTIC_AI_MESSAGES,
        _openinference.INPUT_VALUE,
        _openllmetry.ENTITY_INPUT,
        _openllmetry.TASK_INPUT,
        _langsmith.PROMPT,
        _infra.URL,
        _infra.URL_OLD,
    ),
}

OUTPUTS: dict[str, tuple[Source, ...]] = {
    "COMPLETION": (
        _genai.OUTPUT_MESSAGES,
        _openinference.OUTPUT_MESSAGES,
        _openllmetry.COMPLETIONS,
        _langsmith.COMPLETION,
        _vendors.ADK_RESPONSE,
        _openinference.OUTPUT_VALUE,
        _openllmetry.ENTITY_OUTPUT,
    ),
    "CODE_EXECUTION": (
        _genai.TOOL_RESULT,
        _vendors.PYDANTIC_AI_RESPONSE,
        _openinference.OUTPUT_VALUE,
        _openllmetry.ENTITY_OUTPUT,
        _langsmith.COMPLETION,
    ),
    "KB_RETRIEVAL": (
        _openinference.DOCUMENTS,
        _openllmetry.ENTITY_OUTPUT,
        _langsmith.COMPLETION,
        _openinference.OUTPUT_VALUE,
        _genai.RETRIEVAL_DOCUMENTS,
        _genai.MEMORY_RECORDS,
    ),
    "RERANKING": (_openinference.RERANKED_DOCUMENTS, _openinference.OUTPUT_VALUE),
    "EXTERNAL_ENDPOINT": (
        _openinference.VECTOR_SIZES,
        _genai.EMBEDDING_SIZE,
        _openinference.OUTPUT_VALUE,
        _infra.STATUS,
        _infra.STATUS_OLD,
    ),
    _ANY: (
        _genai.OUTPUT_MESSAGES,
        _vendors.PYDANTIC_AI_RESULT,
        _openinference.OUTPUT_VALUE,
        _openllmetry.ENTITY_OUTPUT,
        _openllmetry.TASK_OUTPUT,
        _langsmith.COMPLETION,
        _infra.STATUS,
        _infra.STATUS_OLD,
    ),
}

TOOLS: tuple[Source, ...] = (
    _genai.TOOL_DEFINITIONS,
    _openinference.TOOLS,
    _openllmetry.FUNCTIONS,
    _vendors.PYDANTIC_AI_TOOLS,
)

# Under `output.usage`, and only where a call is billed.
USAGE: dict[str, tuple[Field, ...]] = {
    "input_tokens": fields(
        "gen_ai.usage.input_tokens",
        "llm.token_count.prompt",
        "gen_ai.usage.prompt_tokens",
        "llm.usage.prompt_tokens",
    ),
    "output_tokens": fields(
        "gen_ai.usage.output_tokens",
        "llm.token_count.completion",
        "gen_ai.usage.completion_tokens",
        "llm.usage.completion_tokens",
    ),
    "total_tokens": fields("gen_ai.usage.total_tokens", "llm.token_count.total", "llm.usage.total_tokens"),
    "cached_input_tokens": (
        *fields(
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
            "llm.token_count.prompt_details.cache_read",
            "gen_ai.usage.details.cache_read_tokens",
            "gen_ai.usage.details.cached_tokens",
        ),
        Field("langsmith.metadata.usage_metadata", ("input_token_details", "cache_read")),
    ),
    "reasoning_tokens": (
        *fields(
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.reasoning_tokens",
            "llm.usage.reasoning_tokens",
            "llm.token_count.completion_details.reasoning",
            "gen_ai.usage.details.reasoning_tokens",
        ),
        Field("langsmith.metadata.usage_metadata", ("output_token_details", "reasoning")),
    ),
    "cost_usd": fields("llm.cost.total", "operation.cost"),
}
CACHE_WRITE = fields(
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
)

CONVERSATION = ("session_id", "conversation_id", "thread_id")
GROUP_ID: tuple[Field, ...] = (
    *fields("session.id", "gen_ai.conversation.id"),
    *(Field(f"traceloop.association.properties.{name}") for name in CONVERSATION),
    *(Field(f"langsmith.metadata.{name}") for name in CONVERSATION),
    *(Field("metadata", (name,)) for name in CONVERSATION),
    Field("gcp.vertex.agent.session_id"),
)
USER_ID: tuple[Field, ...] = (
    *fields("user.id", "enduser.id", "gen_ai.user", "llm.user"),
    *fields("traceloop.association.properties.user_id", "langsmith.metadata.user_id"),
    Field("metadata", ("user_id",)),
)
REQUEST_MODEL: tuple[Field, ...] = (
    *fields("gen_ai.request.model", "llm.request.model_name"),
    Field("llm.invocation_parameters", ("model",)),
    *fields("llm.model_name", "embedding.model_name", "reranker.model_name"),
)
MODEL = fields(
    "gen_ai.response.model",
    "gen_ai.request.model",
    "llm.response.model_name",
    "llm.model_name",
    "embedding.model_name",
    "reranker.model_name",
)
PROVIDER = fields("gen_ai.provider.name", "llm.provider", "gen_ai.system", "llm.system")
FINISH_REASON = fields("gen_ai.response.finish_reasons", "llm.finish_reason", "gen_ai.completion.0.finish_reason")
TIME_TO_FIRST_CHUNK = fields(
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.client.operation.time_to_first_chunk",
)
CHUNK_EVENTS = frozenset(
    {"First Token Stream Event", "gen_ai.content.completion.chunk", "llm.content.completion.chunk"}
)

TAGS: tuple[Field, ...] = (*fields("tag.tags", "langsmith.span.tags"), Field("traceloop.entity.input", ("tags",)))

# What is left of the attributes goes into metadata: the user's own under their names, groups under one name, the rest
# as `attributes`. Frameworks' copies of payloads, leaked environment and hints to other tools are left out.
USER_METADATA = ("traceloop.association.properties.", "langsmith.metadata.")
USER_METADATA_JSON = "metadata"
GROUPS = {
    "llm.prompt_template.": "prompt_template",
    "gen_ai.prompt.": "prompt_template",
    "traceloop.prompt.": "prompt_template",
    "gen_ai.aggregated_usage.": "aggregated_usage",
}
SILENT_PREFIXES = ("logfire.", "traceloop.entity.", "gen_ai.task.", "embedding.embeddings.")
SILENT_KEYS = frozenset({"input.mime_type", "output.mime_type", "embeddings"})
SILENT_USER_PREFIXES = ("LANGSMITH_", "usage_metadata")

# Read by some source together with its own key.
_COMPANIONS = ("reranker.input_documents.",)


def _prefixes() -> tuple[str, ...]:
    chains = (*INPUTS.values(), *OUTPUTS.values(), TOOLS)
    keys = {source.key for chain in chains for source in chain} | {*LLM_HINTS, *_COMPANIONS}
    return tuple(sorted(key for key in keys if key.endswith(".")))


PREFIXES = _prefixes()
"""What the keys of all indexed families begin with."""


def chain_for(chains: dict[str, tuple[Source, ...]], span_type: str) -> tuple[Source, ...]:
    """The sources of a payload for a span of this type, best first."""
    return chains.get(span_type) or chains[_ANY]
