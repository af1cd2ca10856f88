"""What may hold content, by direction: left out wherever it stands when the user hides inputs or outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

_INPUT_KEYS = (
    "sgp.input",
    "input",
    "llm.input_messages.",
    "llm.prompts",
    "llm.prompt_template.template",
    "llm.prompt_template.variables",
    "llm.invocation_parameters",
    "llm.tools.",
    "llm.request.functions.",
    "gen_ai.input.",
    "gen_ai.prompt",
    "gen_ai.system_instructions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.definitions",
    "gen_ai.task.input",
    "gen_ai.retrieval.query",
    "gen_ai.memory.query",
    "tool.parameters",
    "tool_arguments",
    "traceloop.entity.input",
    "traceloop.prompt.",
    "embedding.embeddings.",
    "reranker.query",
    "reranker.input_documents.",
    "gcp.vertex.agent.llm_request",
    "gcp.vertex.agent.tool_call_args",
    "langfuse.observation.input",
    "model_request_parameters",
    "url.full",
    "url.path",
    "url.query",
    "http.url",
    "http.target",
    "db.query.text",
    "db.query.parameter.",
    "db.statement",
)
_OUTPUT_KEYS = (
    "sgp.output",
    "sgp.expected",
    "output",
    "llm.output_messages.",
    "gen_ai.output.",
    "gen_ai.completion",
    "gen_ai.tool.call.result",
    "gen_ai.task.output",
    "gen_ai.retrieval.documents",
    "gen_ai.memory.records",
    "tool_response",
    "final_result",
    "traceloop.entity.output",
    "retrieval.documents.",
    "reranker.output_documents.",
    "gcp.vertex.agent.llm_response",
    "gcp.vertex.agent.tool_response",
    "langfuse.observation.output",
    "embeddings",
)
# Where message events keep what was said.
_EVENT_BODY_KEYS = ("gen_ai.event.", "content", "message", "body")
# Whole conversations: hidden with either side.
_BOTH_KEYS = ("pydantic_ai.", "events", "all_messages_events", "gcp.vertex.agent.data", *_EVENT_BODY_KEYS)

_INPUT_EVENTS = frozenset(
    {
        "gen_ai.system.message",
        "gen_ai.user.message",
        "gen_ai.assistant.message",
        "gen_ai.tool.message",
        "gen_ai.content.prompt",
    }
)
_OUTPUT_EVENTS = frozenset({"gen_ai.choice", "gen_ai.content.completion"})


@dataclass(frozen=True)
class MappingOptions:
    """What the user chose about the mapping.

    Attributes:
        hide_inputs: Send a marker in place of every input, and no attribute or event that repeats one.
        hide_outputs: The same for outputs; token usage is still sent.
        remote_parent: "link" keeps every parent from another process, "root" none; "auto" keeps those whose tracestate
            says that they are in SGP.
    """

    hide_inputs: bool = False
    hide_outputs: bool = False
    remote_parent: Literal["auto", "link", "root"] = "auto"

    @cached_property
    def hidden_keys(self) -> tuple[str, ...]:
        """What the keys of hidden attributes begin with."""
        return (
            (_INPUT_KEYS if self.hide_inputs else ())
            + (_OUTPUT_KEYS if self.hide_outputs else ())
            + (_BOTH_KEYS if self.hide_inputs or self.hide_outputs else ())
        )

    def event_attributes(self, name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes of an event that may be shown."""
        if (self.hide_inputs and name in _INPUT_EVENTS) or (self.hide_outputs and name in _OUTPUT_EVENTS):
            return {}
        hidden = self.hidden_keys
        return {key: value for key, value in attributes.items() if not hidden or not str(key).startswith(hidden)}
