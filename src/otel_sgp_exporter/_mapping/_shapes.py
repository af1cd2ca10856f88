"""A decoded payload as the `input` or `output` object of a span of its type; None when there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from otel_sgp_exporter._mapping._llm import as_output, completion, prompt
from otel_sgp_exporter._mapping._messages import langchain_message, messages, to_messages
from otel_sgp_exporter._mapping._reader import decode

Payload = dict[str, Any]
Shape: TypeAlias = Callable[[Any], "Payload | None"]


def wrapped(name: str, value: Any) -> Payload:
    """The value as the object that SGP demands."""
    return dict(value) if isinstance(value, dict) else {name: value}


def llm_input(value: Any) -> Payload | None:
    found, rest = prompt(value)
    if found is None:
        return wrapped("input", value)
    parameters = {key: item for key, item in rest.items() if key not in ("model", "tools")}
    request = {
        "model": rest.get("model"),
        "messages": found,
        "tools": rest.get("tools"),
        "parameters": parameters,
    }
    return {key: item for key, item in request.items() if item}


def llm_output(value: Any) -> Payload | None:
    found = completion(value)
    if found is None:
        return wrapped("content", value)
    return as_output(found) if found else None


def tool_input(value: Any) -> Payload | None:
    return wrapped("input", value)


def tool_output(value: Any) -> Payload | None:
    """What the tool returned, taken out of the tool message that LangChain made of it."""
    if isinstance(value, dict) and value.keys() == {"output"}:
        value = value["output"]
    if isinstance(value, dict) and (langchain_message(value) or "additional_kwargs" in value):
        found = to_messages(value)
        value = found[0]["content"] if found else value
    return wrapped("output", decode(value) if isinstance(value, str) else value)


def retrieval_input(value: Any) -> Payload | None:
    return value if isinstance(value, dict) and "query" in value else {"query": value}


def documents(value: Any) -> Payload | None:
    """`{"documents": [{"id", "content", "score", "metadata"}]}` of what a retriever or a reranker found."""
    if isinstance(value, dict):
        value = value.get("documents", value.get("output", value))
    if not isinstance(value, (list, tuple)):
        return wrapped("output", value)
    return {"documents": [_document(item) for item in value]}


def rerank_input(value: Any) -> Payload | None:
    if isinstance(value, dict) and isinstance(value.get("documents"), list):
        return {**value, "documents": [_document(item) for item in value["documents"]]}
    return wrapped("query", value)


def any_input(value: Any) -> Payload | None:
    return wrapped("input", _conversation(value))


def any_output(value: Any) -> Payload | None:
    return wrapped("output", _conversation(value))


def _conversation(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, dict) and "role" in item for item in value):
        found = messages(value)
        return value if found is None else {"messages": found}
    return value


def _document(item: Any) -> Payload:
    if isinstance(item, dict):
        item = item.get("document", item)
    if isinstance(item, dict) and "lc" in item:
        item = item.get("kwargs")
    if not isinstance(item, dict):
        return {"content": item}
    metadata = item.get("metadata")
    document = {
        "id": item.get("id"),
        "content": next((item[key] for key in ("content", "page_content", "text") if key in item), None),
        "score": item.get("score"),
        "metadata": decode(metadata) if isinstance(metadata, str) else metadata,
    }
    return {key: part for key, part in document.items() if part not in (None, {})}


INPUT_SHAPES: dict[str, Shape] = {
    "COMPLETION": llm_input,
    "CODE_EXECUTION": tool_input,
    "KB_RETRIEVAL": retrieval_input,
    "RERANKING": rerank_input,
}
OUTPUT_SHAPES: dict[str, Shape] = {
    "COMPLETION": llm_output,
    "CODE_EXECUTION": tool_output,
    "KB_RETRIEVAL": documents,
    "RERANKING": documents,
}
