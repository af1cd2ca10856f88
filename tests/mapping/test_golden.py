"""Every captured span, compared with the decisions of the reference run in `expected.json`."""

from __future__ import annotations

from typing import Any

import pytest
from captured import EXPECTED, NAMES, load, record

from otel_sgp_exporter._mapping import MappingOptions, TraceMemory, to_item
from otel_sgp_exporter._mapping._payload import read_input, read_output
from otel_sgp_exporter._mapping._precedence import FAMILIES
from otel_sgp_exporter._mapping._reader import Reader
from otel_sgp_exporter._mapping._types import SPAN_TYPES, decide
from otel_sgp_exporter._record import Phase, Record

ARGUED: dict[tuple[str, str, str], tuple[Any, str]] = {
    ("oi_langchain__agent_llm_error", "ChatOpenAI", "output_key"): (
        None,
        "A lone role without content, calls or thoughts is no answer: the call failed, and the error says why.",
    ),
    ("oi_openai__chat_long_history", "ChatCompletion", "input_key"): (
        "input.value",
        "The attribute limit took messages 0-23, the system prompt among them; the request that START knew is whole.",
    ),
    ("oi_openai__embeddings", "CreateEmbeddings", "output_key"): (
        "embedding.embeddings.*",
        "Vectors are never sent; how many there are and how long is the output that section 5.3 asks for.",
    ),
    ("oi_llama_index__query", "MockEmbedding.get_query_embedding", "output_key"): (
        "embedding.embeddings.*",
        "As above.",
    ),
}
"""(capture, span name, field): what we say instead of the reference, and why ours is right."""


MEMBERS = (
    "name",
    "id",
    "trace_id",
    "start_timestamp",
    "end_timestamp",
    "input",
    "output",
    "metadata",
    "status",
    "type",
    "parent_id",
    "group_id",
    "obs_trace_id",
    "obs_span_id",
)


def expectations() -> list[Any]:
    return [
        pytest.param(name, index, expected, id=f"{name}-{index}-{expected['name']}")
        for name in NAMES
        for index, expected in enumerate(EXPECTED[name])
    ]


def mapped(name: str) -> list[dict[str, Any]]:
    """The capture's ENDs as one process would map them, without STARTs as in the reference run's group ids."""
    memory = TraceMemory()
    return [to_item(record(entry, Phase.END), memory=memory) for entry in load(name)]


ITEMS = {name: mapped(name) for name in NAMES}


def decisions(name: str, index: int) -> dict[str, Any]:
    """What `expected.json` records of a span, read off our own mapping."""
    item = ITEMS[name][index]
    entry = load(name)[index]
    merged = {**entry, "attributes": {**entry["start_attributes"], **entry["attributes"]}}
    end = record(merged, Phase.END)
    decision = decide(Reader(end.attributes, FAMILIES), end)
    metadata = item["metadata"]
    failed = item["status"] == "ERROR"
    found = {
        "type": item["type"],
        "rule": decision.rule,
        "type_at_start": to_item(record(entry, Phase.START))["type"],
        "input_key": _key(read_input, end, decision.type),
        "output_key": _key(read_output, end, decision.type),
        "usage": item["output"].get("usage"),
        "usage_non_billable": metadata.get("usage_suppressed") or metadata.get("aggregated_usage"),
        "group_id": item.get("group_id"),
        "error": {"type": metadata["error_type"], "message": metadata["error_message"][:200]} if failed else None,
        "ttft": "time_to_first_token_ms" in metadata or None,
    }
    return {field: value for field, value in found.items() if value is not None}


def _key(read: Any, end: Record, span_type: str) -> str | None:
    found = read(Reader(end.attributes, FAMILIES), span_type, hidden=False)
    return None if found is None else f"{found.key}*" if found.key.endswith(".") else found.key


def reference(name: str, expected: dict[str, Any]) -> dict[str, Any]:
    """The expectation in our words, with our arguments taken into account."""
    found = {field: value for field, value in expected.items() if field not in ("name", "group_from_span")}
    if found.get("input_key", "").startswith("embedding.embeddings."):
        found["input_key"] = "embedding.embeddings.*"
    if "ttft" in found:
        found["ttft"] = True
    for field in [*found, "output_key"]:
        if argued := ARGUED.get((name, expected["name"], field)):
            found[field] = argued[0]
    return {field: value for field, value in found.items() if value is not None}


@pytest.mark.parametrize(("name", "index", "expected"), expectations())
def test_a_captured_span_is_decided_as_in_the_reference_run(name: str, index: int, expected: dict[str, Any]) -> None:
    assert reference(name, expected) == decisions(name, index)


@pytest.mark.parametrize("name", NAMES)
def test_both_records_of_a_captured_span_are_whole_items(name: str) -> None:
    for entry, item in zip(load(name), ITEMS[name], strict=True):
        start = to_item(record(entry, Phase.START))
        assert "end_timestamp" not in start
        assert {start["type"], item["type"]} <= SPAN_TYPES
        assert start["start_timestamp"] == item["start_timestamp"] <= item["end_timestamp"]
        for part in ("input", "output", "metadata"):
            assert isinstance(item[part], dict)
            assert start.get(part, item) != {}


@pytest.mark.parametrize("name", NAMES)
def test_no_consumed_key_is_repeated_in_metadata(name: str) -> None:
    for expected, item in zip(EXPECTED[name], ITEMS[name], strict=True):
        rest = item["metadata"].get("attributes", {})
        for key in (expected.get("input_key", "-"), expected.get("output_key", "-")):
            assert not any(left.startswith(key.rstrip("*")) for left in rest)
        assert not any(key.startswith(("traceloop.entity.", "logfire.", "gen_ai.task.")) for key in rest)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_members_is_the_contracts(name: str) -> None:
    for item in ITEMS[name]:
        assert [member for member in MEMBERS if member in item] == list(item)


def test_hiding_leaves_nothing_of_a_captured_conversation() -> None:
    """The words that the captured conversations are made of, looked for in every member of every item."""
    options = MappingOptions(hide_inputs=True, hide_outputs=True)
    for name in NAMES:
        for entry in load(name):
            item = to_item(record(entry, Phase.END), options)
            item["metadata"].pop("events", None)
            shown = repr({key: item[key] for key in ("input", "output", "metadata") if key in item})
            assert "What is the weather" not in shown
            assert "sunny in Paris" not in shown
