"""Tokens are billed once: on the call itself, never on what adds calls up."""

from __future__ import annotations

from typing import Any

import pytest
from captured import NAMES, load, record
from made import PARENT_ID, SPAN_ID, context, end, item

from otel_sgp_exporter._mapping import TraceMemory, to_item
from otel_sgp_exporter._record import Phase

CALL = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 4}
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def billed(name: str) -> tuple[int, int]:
    """Input and output tokens that SGP bills for the capture."""
    memory = TraceMemory()
    usages = [to_item(record(entry, Phase.END), memory=memory)["output"].get("usage", {}) for entry in load(name)]
    return sum(u.get("input_tokens", 0) for u in usages), sum(u.get("output_tokens", 0) for u in usages)


@pytest.mark.parametrize("name", [name for name in NAMES if "__agent_" in name])
def test_every_agent_run_is_billed_for_its_real_calls(name: str) -> None:
    real = {
        "agent_openai": 2,
        "agent_fake": 2,
        "agent_using_attributes": 2,
        "agent_tool_error": 1,
        "agent_llm_error": 0,
    }
    calls = real[name.partition("__")[2]]
    # Two instrumentors on the same calls make siblings that nothing in them tells apart: documented, not solved.
    calls *= 2 if name.startswith("oi_langchain_plus_openai") else 1
    assert billed(name) == (57 * calls, 17 * calls)


@pytest.mark.parametrize("operation", ["invoke_agent", "execute_task", "execute_tool"])
def test_what_adds_up_calls_reports_its_sum_in_metadata(operation: str) -> None:
    mapped = item({**CALL, "gen_ai.operation.name": operation})
    assert "usage" not in mapped["output"]
    assert mapped["metadata"]["aggregated_usage"] == USAGE


def test_a_frameworks_own_sum_is_named_the_same() -> None:
    mapped = item({"gen_ai.operation.name": "invoke_agent", "gen_ai.aggregated_usage.input_tokens": 9})
    assert mapped["metadata"]["aggregated_usage"] == {"input_tokens": 9}


def test_a_polled_response_is_not_billed_again() -> None:
    mapped = item({**CALL, "gen_ai.operation.name": "fetch_response"})
    assert "usage" not in mapped["output"]
    assert mapped["metadata"]["usage_suppressed"] == USAGE


def test_a_call_around_a_billed_call_is_the_same_call() -> None:
    memory = TraceMemory()
    inner = to_item(end(CALL, span_id=5, parent=context(SPAN_ID)), memory=memory)
    outer = to_item(end(CALL, parent=context(PARENT_ID)), memory=memory)
    outermost = to_item(end(CALL, span_id=PARENT_ID), memory=memory)
    assert inner["output"]["usage"] == USAGE
    for mapped in (outer, outermost):
        assert "usage" not in mapped["output"]
        assert mapped["metadata"]["usage_suppressed"] == USAGE


def test_a_tool_whose_result_has_a_usage_is_not_billed_for_it() -> None:
    result = '{"usage": {"input_tokens": 1000000}}'
    mapped = item({"openinference.span.kind": "TOOL", "output.value": result})
    assert mapped["output"] == {"output": {"usage": {"input_tokens": 1000000}}}


def test_a_usage_inside_an_http_response_is_not_billed() -> None:
    mapped = item({"openinference.span.kind": "EMBEDDING", "output.value": '{"usage": {"prompt_tokens": 9}}'})
    assert "usage" not in mapped["output"]


@pytest.mark.parametrize("bad", [True, -1, float("nan"), float("inf"), "3", None])
def test_what_is_no_count_is_not_billed(bad: Any) -> None:
    mapped = item({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": bad})
    assert "usage" not in mapped["output"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"llm.token_count.prompt": 1, "llm.token_count.completion": 2, "llm.token_count.total": 4},
            {"input_tokens": 1, "output_tokens": 2, "total_tokens": 4},
        ),
        (
            {"gen_ai.usage.prompt_tokens": 1, "gen_ai.usage.completion_tokens": 2},
            {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        ),
        ({"gen_ai.usage.input_tokens": 1}, {"input_tokens": 1}),
        ({"llm.cost.total": 0.5}, {"cost_usd": 0.5}),
        ({"operation.cost": 0.5}, {"cost_usd": 0.5}),
        (
            {"gen_ai.usage.cache_read_input_tokens": 1, "llm.usage.reasoning_tokens": 2},
            {"cached_input_tokens": 1, "reasoning_tokens": 2},
        ),
        (
            {"langsmith.metadata.usage_metadata": '{"input_token_details": {"cache_read": 1}}'},
            {"cached_input_tokens": 1},
        ),
    ],
)
def test_counts_are_found_under_every_conventions_name(attributes: Any, expected: Any) -> None:
    assert item({"llm.request.type": "chat", **attributes})["output"]["usage"] == expected


def test_cache_writes_are_told_but_not_billed() -> None:
    mapped = item({**CALL, "gen_ai.usage.cache_creation.input_tokens": 6})
    assert mapped["metadata"]["cache_write_tokens"] == 6
    assert mapped["output"]["usage"] == USAGE
