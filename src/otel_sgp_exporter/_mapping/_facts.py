"""Where the single facts about a span can stand (counts, ids, names), best first."""

from __future__ import annotations

from otel_sgp_exporter._mapping._reader import Chain, Field

# Under `output.usage`, and only where a call is billed.
USAGE: dict[str, Chain] = {
    "input_tokens": Chain(
        "gen_ai.usage.input_tokens",
        "llm.token_count.prompt",
        "gen_ai.usage.prompt_tokens",
        "llm.usage.prompt_tokens",
    ),
    "output_tokens": Chain(
        "gen_ai.usage.output_tokens",
        "llm.token_count.completion",
        "gen_ai.usage.completion_tokens",
        "llm.usage.completion_tokens",
    ),
    "total_tokens": Chain("gen_ai.usage.total_tokens", "llm.token_count.total", "llm.usage.total_tokens"),
    "cached_input_tokens": Chain(
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.details.cached_tokens",
        Field("langsmith.metadata.usage_metadata", ("input_token_details", "cache_read")),
    ),
    "reasoning_tokens": Chain(
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "llm.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
        "gen_ai.usage.details.reasoning_tokens",
        Field("langsmith.metadata.usage_metadata", ("output_token_details", "reasoning")),
    ),
    "cost_usd": Chain("llm.cost.total", "operation.cost"),
}
CACHE_WRITE = Chain(
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
)

CONVERSATION = ("session_id", "conversation_id", "thread_id")
GROUP_ID = Chain(
    "session.id",
    "gen_ai.conversation.id",
    *(f"traceloop.association.properties.{name}" for name in CONVERSATION),
    *(f"langsmith.metadata.{name}" for name in CONVERSATION),
    *(Field("metadata", (name,)) for name in CONVERSATION),
    "gcp.vertex.agent.session_id",
)
USER_ID = Chain(
    "user.id",
    "enduser.id",
    "gen_ai.user",
    "llm.user",
    "traceloop.association.properties.user_id",
    "langsmith.metadata.user_id",
    Field("metadata", ("user_id",)),
)
REQUEST_MODEL = Chain(
    "gen_ai.request.model",
    "llm.request.model_name",
    Field("llm.invocation_parameters", ("model",)),
    "llm.model_name",
    "embedding.model_name",
    "reranker.model_name",
)
MODEL = Chain(
    "gen_ai.response.model",
    "gen_ai.request.model",
    "llm.response.model_name",
    "llm.model_name",
    "embedding.model_name",
    "reranker.model_name",
)
PROVIDER = Chain("gen_ai.provider.name", "llm.provider", "gen_ai.system", "llm.system")
FINISH_REASON = Chain("gen_ai.response.finish_reasons", "llm.finish_reason", "gen_ai.completion.0.finish_reason")
TIME_TO_FIRST_CHUNK = Chain(
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.client.operation.time_to_first_chunk",
)
CHUNK_EVENTS = frozenset(
    {"First Token Stream Event", "gen_ai.content.completion.chunk", "llm.content.completion.chunk"}
)

TAGS = Chain("tag.tags", "langsmith.span.tags", Field("traceloop.entity.input", ("tags",)))
