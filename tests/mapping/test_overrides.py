"""`sgp.*` attributes: what the user says wins."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from made import end, item, start

from otel_sgp_exporter._mapping import MappingOptions, TraceMemory, to_item


def test_every_override_reaches_its_member() -> None:
    mapped = item(
        {
            "openinference.span.kind": "LLM",
            "input.value": "instrumented",
            "sgp.type": "guardrail",
            "sgp.name": "check",
            "sgp.input": '{"question": "ok?"}',
            "sgp.output": "yes",
            "sgp.group_id": "case-7",
            "sgp.expected": '{"answer": "yes"}',
            "sgp.application_variant_id": "v1",
            "sgp.application_interaction_id": "i1",
            "sgp.metadata.stage": "beta",
        }
    )
    assert {
        "type": "GUARDRAIL",
        "name": "check",
        "input": {"question": "ok?"},
        "output": {"output": "yes"},
        "group_id": "case-7",
        "expected": {"answer": "yes"},
        "application_variant_id": "v1",
        "application_interaction_id": "i1",
    }.items() <= mapped.items()
    assert mapped["metadata"]["stage"] == "beta"
    assert "sgp." not in repr(mapped["metadata"])


def test_an_empty_object_is_said_to_be_expected_at_the_end() -> None:
    """That is not the same as no expectation."""
    nothing = {"sgp.expected": "{ }"}
    assert item(nothing)["expected"] == {}
    assert "expected" not in to_item(start(nothing))


def test_a_type_may_also_stand_where_scales_own_code_puts_it() -> None:
    assert item({"__span_type__": "AGENT_WORKFLOW"})["type"] == "AGENT_WORKFLOW"


@pytest.mark.parametrize("bad", [{"sgp.type": "AGENT"}, {"sgp.name": 7}, {"sgp.group_id": ("a",)}])
def test_a_bad_override_is_warned_of_once_and_falls_back(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    memory = TraceMemory()
    with caplog.at_level(logging.WARNING):
        mapped = [to_item(end(bad), memory=memory) for _ in range(3)]
    assert [record.getMessage().split()[3] for record in caplog.records] == list(bad)
    assert {(one["type"], one["name"], one.get("group_id")) for one in mapped} == {("TRACER", "work", None)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a\0b", "ab"),
        (42, "42"),
        ("x\ud800", "x?"),
        ("", None),
        (True, None),
    ],
)
def test_a_group_id_is_made_fit_for_sgp(given: Any, expected: str | None) -> None:
    assert item({"session.id": given}).get("group_id") == expected


def test_a_long_group_id_is_cut_but_stays_its_own() -> None:
    one, other = (item({"session.id": "é" * 200 + end}).get("group_id", "") for end in "ab")
    assert one != other
    assert max(len(one.encode()), len(other.encode())) <= 256


@pytest.mark.parametrize(
    ("key", "attributes"),
    [
        ("session.id", {"session.id": "1", "gen_ai.conversation.id": "2"}),
        ("conversation", {"gen_ai.conversation.id": "1", "traceloop.association.properties.thread_id": "2"}),
        ("traceloop", {"traceloop.association.properties.session_id": "1", "langsmith.metadata.thread_id": "2"}),
        ("langsmith", {"langsmith.metadata.conversation_id": "1", "metadata": '{"thread_id": "2"}'}),
        ("metadata", {"metadata": '{"thread_id": "1"}', "gcp.vertex.agent.session_id": "2"}),
        ("adk", {"gcp.vertex.agent.session_id": "1", "mcp.session.id": "2", "langsmith.trace.session_id": "3"}),
    ],
)
def test_the_conversation_is_found_under_every_conventions_name(key: str, attributes: Any) -> None:
    assert item(attributes)["group_id"] == "1"


def test_expected_and_explicit_payloads_are_hidden_like_any_other() -> None:
    options = MappingOptions(hide_inputs=True, hide_outputs=True)
    mapped = to_item(end({"sgp.input": "secret", "sgp.output": "secret", "sgp.expected": "secret"}), options)
    assert "secret" not in repr(mapped)
    assert (mapped["input"], mapped["output"], mapped["expected"]) == (
        {"input": "__REDACTED__"},
        {"output": "__REDACTED__"},
        {"expected": "__REDACTED__"},
    )
