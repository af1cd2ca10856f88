"""Hidden content is nowhere in the item: not as a payload, not as an attribute, not in an event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from made import START_NS, end, item, start
from opentelemetry.sdk.trace import Event

from otel_sgp_exporter._mapping import MappingOptions, to_item
from otel_sgp_exporter._mapping._precedence import INPUTS, OUTPUTS, TOOLS

SECRET = "s3cr3t"
HIDE_INPUTS = MappingOptions(hide_inputs=True)
HIDE_OUTPUTS = MappingOptions(hide_outputs=True)


def keys(*chains: Any) -> list[str]:
    found = {source.key for chain in chains for source in chain}
    return sorted(f"{key}0.message.content" if key.endswith(".") else key for key in found)


COUNTS = {"http.response.status_code", "http.status_code", "gen_ai.embeddings.dimension.count"}
INPUT_KEYS = keys(*INPUTS.values(), TOOLS)
OUTPUT_KEYS = [key for key in keys(*OUTPUTS.values()) if key not in COUNTS and not key.startswith("embedding.")]


@pytest.mark.parametrize("key", INPUT_KEYS)
@pytest.mark.parametrize("kind", ["LLM", "TOOL", "CHAIN", "RETRIEVER", "RERANKER", "EMBEDDING", "PROMPT", ""])
def test_no_input_key_of_any_convention_shows_through(key: str, kind: str) -> None:
    for value in (SECRET, json.dumps({"messages": SECRET, "documents": [SECRET], "function_tools": [SECRET]})):
        attributes = {key: value, "openinference.span.kind": kind}
        assert SECRET not in repr(to_item(end(attributes), HIDE_INPUTS))
        assert SECRET not in repr(to_item(start(attributes), HIDE_INPUTS))


@pytest.mark.parametrize("key", OUTPUT_KEYS)
@pytest.mark.parametrize("kind", ["LLM", "TOOL", "CHAIN", "RETRIEVER", "RERANKER", "EMBEDDING", ""])
def test_no_output_key_of_any_convention_shows_through(key: str, kind: str) -> None:
    assert SECRET not in repr(to_item(end({key: SECRET, "openinference.span.kind": kind}), HIDE_OUTPUTS))


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("gen_ai.user.message", {"content": SECRET}),
        ("gen_ai.choice", {"message": SECRET}),
        ("gen_ai.content.prompt", {"gen_ai.prompt": SECRET}),
        ("gen_ai.client.inference.operation.details", {"gen_ai.input.messages": SECRET}),
        ("custom", {"gen_ai.event.content": SECRET}),
    ],
)
def test_events_show_no_hidden_content(name: str, attributes: Any) -> None:
    options = MappingOptions(hide_inputs=True, hide_outputs=True)
    mapped = to_item(end(events=[Event(name, {**attributes, "index": 1}, START_NS)]), options)
    assert SECRET not in repr(mapped)
    assert {event["name"] for event in mapped["metadata"].get("events", ())} <= {name}


def test_one_side_can_be_hidden_without_the_other() -> None:
    attributes = {"openinference.span.kind": "LLM", "input.value": "asked", "output.value": "said"}
    usage = {"llm.token_count.prompt": 3, "llm.token_count.completion": 4}
    mapped = to_item(end({**attributes, **usage}), HIDE_OUTPUTS)
    assert mapped["input"] == {"input": "asked"}
    assert mapped["output"] == {
        "output": "__REDACTED__",
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    }


def test_a_marker_left_by_an_instrumentation_is_shown_and_no_other_key_is_searched() -> None:
    mapped = item({"openinference.span.kind": "LLM", "gen_ai.input.messages": "leaked", "input.value": "__REDACTED__"})
    assert mapped["input"] == {"input": "__REDACTED__"}
    assert "leaked" not in repr(mapped)
