"""Chat messages of every dialect in one shape.

A message is `{"role", "content", "reasoning"?, "tool_calls"?, "tool_call_id"?, "name"?, "finish_reason"?}`. The content
is a text, or a list of parts when there are several or one is not text; a tool call is `{"id", "name", "arguments"}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from otel_sgp_exporter._mapping._reader import decode

Message = dict[str, Any]

# What a role or a LangChain message type is called in our shape; a role that is not here keeps its name.
_ROLES = {
    "human": "user",
    "HumanMessageChunk": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "model": "assistant",
    "function": "tool",
}
_LANGCHAIN_TYPES = frozenset(
    {"human", "HumanMessageChunk", "ai", "AIMessageChunk", "system", "tool", "function", "chat"}
)
_LANGCHAIN_CLASSES = {"HumanMessage": "human", "AIMessage": "ai", "SystemMessage": "system", "ToolMessage": "tool"}

_PLAIN_MESSAGE, _PARTED_MESSAGE, _PART = {"role", "content"}, {"role", "parts"}, {"type", "content"}
_SPEECH = frozenset({"content", "contents", "parts", "tool_calls"})

_TEXT, _CALL, _RESULT, _REASONING = "text", "call", "result", "reasoning"
_PART_KINDS = {
    "text": _TEXT,
    "input_text": _TEXT,
    "output_text": _TEXT,
    "summary_text": _TEXT,
    "tool_call": _CALL,
    "tool_use": _CALL,
    "function_call": _CALL,
    "tool_call_response": _RESULT,
    "tool_result": _RESULT,
    "function_response": _RESULT,
    "function_call_output": _RESULT,
    "reasoning": _REASONING,
    "thinking": _REASONING,
}


def messages(value: Any) -> list[Message] | None:
    """The messages in a list of them, or in the only list of a list of lists; None if that is not what it is."""
    if isinstance(value, dict):
        return to_messages(value)
    if not isinstance(value, (list, tuple)) or not value:
        return None
    if isinstance(value[0], (list, tuple)) and all(isinstance(item, (list, tuple)) for item in value):
        value = [item for batch in value for item in batch]
    found: list[Message] = []
    for item in value:
        converted = to_messages(item)
        if converted is None:
            return None
        found += converted
    return found


def to_messages(item: Any) -> list[Message] | None:
    """What one item stands for: mostly one message, several when it carries several tool results."""
    if isinstance(item, str):
        return [{"role": "user", "content": item}]
    if not isinstance(item, dict):
        return None
    if (text := _only_text(item)) is not None:
        return [{"role": _role(item["role"] or "assistant"), "content": text}]
    item = langchain_message(item) or item.get("message") or item
    if not isinstance(item, dict):
        return None
    if "role" in item or ("type" not in item and not _SPEECH.isdisjoint(item)):
        return _assembled(_role(item.get("role") or "assistant"), _parts_of(item), item)
    if _is_langchain_type(item.get("type")) and "content" in item:
        return _assembled(_role(item["type"]), _parts_of(item), item)
    return _assembled("assistant", [item], {}) if "type" in item and _kind(item) else None


def _only_text(item: Mapping[str, Any]) -> str | None:
    """What a message says that has a role and one text, as most in a long history do; None for any other."""
    keys, text = item.keys(), None
    if keys == _PLAIN_MESSAGE:
        text = item["content"]
    elif keys == _PARTED_MESSAGE and isinstance(parts := item["parts"], list) and len(parts) == 1:
        [part] = parts
        text = part["content"] if isinstance(part, dict) and part.keys() == _PART and part["type"] == "text" else None
    return text if isinstance(text, str) else None


def langchain_message(item: Mapping[str, Any]) -> Message | None:
    """The fields of a message that LangChain serialised; None for anything else."""
    fields = item.get("kwargs") if "lc" in item else item.get("data")
    if not isinstance(fields, dict) or "content" not in fields:
        return None
    kind = fields.get("type") or item.get("type")
    path = item.get("id")
    if not _is_langchain_type(kind) and isinstance(path, list) and path:
        kind = _LANGCHAIN_CLASSES.get(str(path[-1]))
    if not _is_langchain_type(kind):
        return None
    return {**fields, "role": fields.get("role") if kind == "chat" else kind}


def _is_langchain_type(kind: Any) -> bool:
    return isinstance(kind, str) and kind in _LANGCHAIN_TYPES


def is_blank(message: Message) -> bool:
    """True for a message that says nothing, such as the bare role that stands in for a failed answer."""
    return not (message.get("content") or message.get("tool_calls") or message.get("reasoning"))


def _role(role: Any) -> str:
    return _ROLES.get(role, role) if isinstance(role, str) else "user"


def _parts_of(item: Mapping[str, Any]) -> Sequence[Any]:
    for key in ("parts", "contents", "content"):
        value = item.get(key)
        if isinstance(value, (list, tuple)):
            return value
        if value not in (None, ""):
            return [value]
    return ()


def _assembled(role: str, parts: Sequence[Any], item: Mapping[str, Any]) -> list[Message]:
    content: list[Any] = []
    reasoning = [thought] if isinstance(thought := item.get("reasoning"), str) and thought else []
    calls = [_tool_call(call) for call in _list(item.get("tool_calls")) if isinstance(call, dict)]
    results: list[Message] = []
    for part in parts:
        part = part.get("message_content", part) if isinstance(part, dict) else part
        kind = _kind(part)
        if kind == _CALL:
            calls.append(_tool_call(part))
        elif kind == _RESULT:
            results.append(_tool_result(part))
        elif kind == _REASONING:
            reasoning += _reasoning(part)
        else:
            content.append({"type": "text", "text": _text(part)} if kind == _TEXT else part)
    if results and not content and not calls:
        return results
    message = {"role": role, "content": _content(content)}
    if reasoning:
        message["reasoning"] = "\n".join(reasoning)
    if calls:
        message["tool_calls"] = calls
    for name in ("tool_call_id", "name", "finish_reason"):
        if value := item.get(name):
            message[name] = value
    return [*results, message]


def _kind(part: Any) -> str | None:
    if isinstance(part, str):
        return _TEXT
    if not isinstance(part, dict):
        return None
    kind = part.get("type")
    if isinstance(kind, str):
        return _PART_KINDS.get(kind)
    # Gemini's parts have no type; their one key says what they are.
    return next((name for key, name in _PART_KINDS.items() if key in part), None)


def _content(parts: list[Any]) -> Any:
    if not parts:
        return ""
    only = parts[0]
    if len(parts) == 1 and (not isinstance(only, dict) or only.get("type") == "text"):
        return only["text"] if isinstance(only, dict) else only
    return parts


def _text(part: Any) -> Any:
    return part if isinstance(part, str) else part.get("text", part.get("content"))


def _reasoning(part: Mapping[str, Any]) -> list[str]:
    said = part.get("content") or part.get("text") or part.get("thinking") or part.get("summary")
    texts = [_text(item) for item in said if _kind(item) == _TEXT] if isinstance(said, (list, tuple)) else [said]
    return [text for text in texts if isinstance(text, str)]


def _tool_call(item: Mapping[str, Any]) -> dict[str, Any]:
    item = _inner(item, "tool_call", "function_call")
    function = _inner(item, "function")
    arguments = next((function[key] for key in ("arguments", "args", "input") if key in function), None)
    call = {
        "id": item.get("call_id") or item.get("id"),
        "name": function.get("name"),
        "arguments": decode(arguments) if isinstance(arguments, str) else arguments,
    }
    return {key: value for key, value in call.items() if value is not None}


def _tool_result(part: Mapping[str, Any]) -> Message:
    part = _inner(part, "function_response")
    result = next((part[key] for key in ("response", "result", "content", "output") if key in part), "")
    message = {
        "role": "tool",
        "content": "" if result is None else result,
        "tool_call_id": part.get("call_id") or part.get("tool_use_id") or part.get("id"),
        "name": part.get("name"),
    }
    return {key: value for key, value in message.items() if value or key == "content"}


def _inner(item: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((item[name] for name in names if isinstance(item.get(name), dict)), item)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()
