"""LangSmith's OTel export. Its `gen_ai.operation.name` is not to be trusted: a retriever says `embeddings`."""

from __future__ import annotations

from otel_sgp_exporter._mapping._source import CHAIN, KindRule, Source

SPAN_KIND = KindRule(
    "langsmith.span.kind",
    {
        "llm": "COMPLETION",
        "tool": "CODE_EXECUTION",
        "retriever": "KB_RETRIEVAL",
        "embedding": "EXTERNAL_ENDPOINT",
        "prompt": "PROMPT_ENGINEERING",
        "parser": "DATA_MANIPULATION",
        "chain": CHAIN,
    },
)

PROMPT = Source("gen_ai.prompt")
COMPLETION = Source("gen_ai.completion")

# The root of a LangGraph agent is a plain chain that bears the agent's name and is none of its nodes.
AGENT_NAME = "langsmith.metadata.lc_agent_name"
AGENT_NODE = "langsmith.metadata.langgraph_node"
METADATA = "langsmith.metadata."
