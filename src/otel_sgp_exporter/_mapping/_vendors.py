"""What single frameworks add to the GenAI conventions: pydantic-ai, google-adk and MCP."""

from __future__ import annotations

from typing import Any

from otel_sgp_exporter._mapping._openllmetry import unquoted
from otel_sgp_exporter._mapping._reader import Reader, dig
from otel_sgp_exporter._mapping._source import Source

# What google-adk 1.x writes for want of arguments or of a result.
_NOT_APPLICABLE = ("N/A", "<not specified>")


def _asked(reader: Reader, key: str) -> Any:
    """What the agent was asked: the new messages of the run up to its first answer."""
    history = reader.value(key)
    if not isinstance(history, (list, tuple)):
        return history
    begin = reader.get("pydantic_ai.new_message_index")
    asked: list[Any] = []
    for item in history[begin if type(begin) is int and begin >= 0 else 0 :]:
        if isinstance(item, dict) and item.get("role") == "assistant":
            break
        asked.append(item)
    return asked or None


def _final_result(reader: Reader, key: str) -> Any:
    return unquoted(reader.value(key))


def _function_tools(reader: Reader, key: str) -> Any:
    return dig(reader.value(key), ("function_tools",))


def _unless_not_applicable(reader: Reader, key: str) -> Any:
    found = reader.value(key)
    return None if found in _NOT_APPLICABLE else found


PYDANTIC_AI_MESSAGES = Source("pydantic_ai.all_messages", _asked)
PYDANTIC_AI_RESULT = Source("final_result", _final_result)
PYDANTIC_AI_ARGUMENTS = Source("tool_arguments")
PYDANTIC_AI_RESPONSE = Source("tool_response")
PYDANTIC_AI_TEXTS = Source("inputs")
PYDANTIC_AI_TOOLS = Source("model_request_parameters", _function_tools)
ADK_REQUEST = Source("gcp.vertex.agent.llm_request")
ADK_RESPONSE = Source("gcp.vertex.agent.llm_response")

ADK_ARGUMENTS = Source("gcp.vertex.agent.tool_call_args", _unless_not_applicable)
ADK_RESULT = Source("gcp.vertex.agent.tool_response", _unless_not_applicable)

MCP_METHOD = "mcp.method.name"
MCP_TOOL_CALL = "tools/call"
