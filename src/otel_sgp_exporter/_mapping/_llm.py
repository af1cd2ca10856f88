"""The input and output of an LLM call in SGP's shape, whatever API or framework the payload was taken from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from otel_sgp_exporter._mapping._messages import Message, is_blank, messages
from otel_sgp_exporter._mapping._reader import dig


def prompt(value: Any) -> tuple[list[Message] | None, dict[str, Any]]:
    """The messages of a request, and what else the request holds (model, tools, parameters)."""
    found = messages(value) if isinstance(value, (list, tuple)) else None
    if found is not None or not isinstance(value, dict):
        return found, {}
    for key, read in _REQUESTS.items():
        if key in value and (found := read(value)) is not None:
            config = value["config"] if isinstance(value.get("config"), dict) else {}
            rest = {**value, **config}
            return found, {name: item for name, item in rest.items() if name not in (key, *_INSTRUCTIONS)}
    return messages(value), {}


def completion(value: Any) -> list[Message] | None:
    """The messages of an answer, blank ones left out; None if the value is no answer that we know."""
    found = messages(value) if isinstance(value, (list, tuple)) else None
    if isinstance(value, dict):
        answers = (read(value) for key, read in _RESPONSES.items() if key in value)
        found = next((answer for answer in answers if answer is not None), None) or messages(value)
    return None if found is None else [message for message in found if not is_blank(message)]


def as_output(found: list[Message]) -> dict[str, Any]:
    """One turn as `{"content", "tool_calls", ...}`; several choices as `{"messages"}`.

    The Responses API answers with an item for each thought, call and text: if only one of them speaks, it is one turn.
    """
    if sum(bool(message["content"]) for message in found) > 1:
        return {"messages": found}
    turn = {
        "content": next((message["content"] for message in found if message["content"]), ""),
        "reasoning": "\n".join(message["reasoning"] for message in found if "reasoning" in message),
        "tool_calls": [_renamed(call) for message in found for call in message.get("tool_calls", ())],
        "finish_reason": next((message["finish_reason"] for message in found if "finish_reason" in message), None),
    }
    return {key: item for key, item in turn.items() if item or key == "content"}


def _renamed(call: dict[str, Any]) -> dict[str, Any]:
    return {"args" if key == "arguments" else key: item for key, item in call.items()}


def _texts(value: Any) -> list[Message] | None:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(item, str) for item in texts):
        return None
    return [{"role": "user", "content": item} for item in texts]


def _with_instructions(found: list[Message] | None, *instructions: Any) -> list[Message] | None:
    for instruction in filter(None, instructions):
        said = instruction if isinstance(instruction, dict) else {"content": instruction}
        system = messages([{**said, "role": "system"}])
        found = [*(system or ()), *(found or ())]
    return found


def _generations(value: Mapping[str, Any]) -> list[Message] | None:
    batches = value["generations"]
    if not isinstance(batches, list):
        return None
    found: list[Message] = []
    for batch in batches:
        for generation in batch if isinstance(batch, list) else [batch]:
            if isinstance(generation, dict):
                found += _generation(generation)
    return found


def _generation(generation: Mapping[str, Any]) -> list[Message]:
    message = generation.get("message")
    found = messages([message]) if isinstance(message, dict) else None
    reasons = (
        dig(generation, ("generation_info", "finish_reason")),
        dig(message, ("kwargs", "response_metadata", "finish_reason")),
        dig(message, ("response_metadata", "finish_reason")),
    )
    return _finished(found or [{"role": "assistant", "content": generation.get("text") or ""}], *reasons)


def _choices(value: Mapping[str, Any]) -> list[Message] | None:
    found: list[Message] = []
    for choice in value["choices"] if isinstance(value["choices"], list) else ():
        if isinstance(choice, dict):
            message = choice.get("message") or {"role": "assistant", "content": choice.get("text")}
            found += _finished(messages([message]) or [], choice.get("finish_reason"))
    return found


def _candidates(value: Mapping[str, Any]) -> list[Message] | None:
    found: list[Message] = []
    for candidate in value["candidates"] if isinstance(value["candidates"], list) else ():
        if isinstance(candidate, dict):
            found += _content(candidate) or []
    return found


def _wrapped(value: Mapping[str, Any]) -> list[Message] | None:
    """An answer under `output`, which may wrap it more than once; deeper than any framework does, it is none."""
    inner = value["output"]
    for _ in range(_MAX_WRAPPERS):
        if not isinstance(inner, dict) or "output" not in inner:
            return completion(value["output"])
        inner = inner["output"]
    return None


def _content(value: Mapping[str, Any]) -> list[Message] | None:
    inner = value["content"] if isinstance(value.get("content"), dict) else {"role": "assistant", **value}
    return _finished(messages([inner]) or [], value.get("finish_reason") or value.get("stop_reason"))


def _finished(found: list[Message], *reasons: Any) -> list[Message]:
    reason = next((reason for reason in reasons if isinstance(reason, str) and reason), None)
    if reason:
        for message in found:
            message.setdefault("finish_reason", reason)
    return found


_MAX_WRAPPERS = 8

_INSTRUCTIONS = ("instructions", "system", "system_instruction", "config")

# What marks a request: the key that its conversation stands under. LangChain, OpenAI Chat and Anthropic; Gemini;
# OpenAI Responses; string completions.
_REQUESTS: dict[str, Callable[[Mapping[str, Any]], list[Message] | None]] = {
    "messages": lambda value: _with_instructions(messages(value["messages"]), value.get("system")),
    "contents": lambda value: _with_instructions(
        messages(value["contents"]) or _texts(value["contents"]), dig(value, ("config", "system_instruction"))
    ),
    "input": lambda value: _with_instructions(
        _texts(value["input"]) or messages(value["input"]), value.get("instructions")
    ),
    "prompts": lambda value: _texts(value["prompts"]),
    "prompt": lambda value: _texts(value["prompt"]),
}

# The same for answers: LangChain; OpenAI Chat; Gemini; OpenAI Responses; any wrapper; Anthropic and ADK.
_RESPONSES: dict[str, Callable[[Mapping[str, Any]], list[Message] | None]] = {
    "generations": _generations,
    "choices": _choices,
    "candidates": _candidates,
    "output": _wrapped,
    "messages": lambda value: messages(value["messages"]),
    "content": _content,
}
