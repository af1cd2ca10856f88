"""Which convention wins, for every part of an item: the first row with something in it.

Adding a convention means adding a module with its sources, and naming them here in their place.
"""

from __future__ import annotations

from otel_sgp_exporter._mapping import (
    _events,
    _genai,
    _infra,
    _langsmith,
    _openinference,
    _openllmetry,
    _vendors,
)
from otel_sgp_exporter._mapping._layout import Families
from otel_sgp_exporter._mapping._source import KindRule, Source

KINDS: tuple[KindRule, ...] = (
    _openinference.SPAN_KIND,
    _langsmith.SPAN_KIND,
    _genai.OPERATION,
    _openllmetry.SPAN_KIND,
    _openllmetry.REQUEST_TYPE,
)
# Without a kind: any of these tells a tool, or an LLM call.
TOOL_HINTS = frozenset({"gen_ai.tool.name", "tool.name"})
LLM_HINTS = frozenset(
    {
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "llm.model_name",
        "llm.token_count.total",
        "gcp.vertex.agent.llm_request",
    }
)
LLM_FAMILIES = frozenset({_openllmetry.PROMPTS.key, _openllmetry.COMPLETIONS.key})

ANY = ""
"""The chain of every type without one of its own."""

_ANY_INPUT = (
    _genai.INPUT_MESSAGES,
    _vendors.PYDANTIC_AI_MESSAGES,
    _openinference.INPUT_VALUE,
    _openllmetry.ENTITY_INPUT,
    _openllmetry.TASK_INPUT,
    _langsmith.PROMPT,
    _events.MESSAGES,
    _infra.URL,
    _infra.URL_OLD,
)

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
        _events.MESSAGES,
    ),
    "CODE_EXECUTION": (
        _genai.TOOL_ARGUMENTS,
        _vendors.PYDANTIC_AI_ARGUMENTS,
        _openinference.INPUT_VALUE,
        _openllmetry.ENTITY_INPUT,
        _langsmith.PROMPT,
        _vendors.ADK_ARGUMENTS,
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
    "PROMPT_ENGINEERING": (*_ANY_INPUT, _openinference.TEMPLATE),
    ANY: _ANY_INPUT,
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
        _events.CHOICES,
    ),
    "CODE_EXECUTION": (
        _genai.TOOL_RESULT,
        _vendors.PYDANTIC_AI_RESPONSE,
        _openinference.OUTPUT_VALUE,
        _openllmetry.ENTITY_OUTPUT,
        _langsmith.COMPLETION,
        _vendors.ADK_RESULT,
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
    ANY: (
        _genai.OUTPUT_MESSAGES,
        _vendors.PYDANTIC_AI_RESULT,
        _openinference.OUTPUT_VALUE,
        _openllmetry.ENTITY_OUTPUT,
        _openllmetry.TASK_OUTPUT,
        _langsmith.COMPLETION,
        _events.CHOICES,
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
SILENT_PREFIXES = ("logfire.", "traceloop.entity.", "gen_ai.task.")
SILENT_SUFFIXES = (".embedding.vector",)
SILENT_KEYS = frozenset(
    {"input.mime_type", "output.mime_type", "embeddings", _events.MESSAGES.key, _events.CHOICES.key}
)
SILENT_USER_PREFIXES = ("LANGSMITH_", "usage_metadata")

# OpenInference repeats the conversation of a chain in these, mostly without its content.
INPUT_COPIES = ("llm.input_messages.",)
OUTPUT_COPIES = ("llm.output_messages.",)

# Read by some source together with its own key.
_COMPANIONS = ("reranker.input_documents.",)


_ALL_CHAINS = (*INPUTS.values(), *OUTPUTS.values(), TOOLS)
FAMILIES = Families(
    key for key in (*_COMPANIONS, *(source.key for chain in _ALL_CHAINS for source in chain)) if key.endswith(".")
)
