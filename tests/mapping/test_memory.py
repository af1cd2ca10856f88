"""What is remembered between records, and that it is bounded."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from typing import Any

import pytest
from captured import load, record
from made import TRACE_ID, context, end, start
from opentelemetry.sdk.resources import Resource

from otel_sgp_exporter._mapping import TraceMemory, to_item
from otel_sgp_exporter._mapping._memory import Recent
from otel_sgp_exporter._mapping._precedence import FAMILIES
from otel_sgp_exporter._mapping._reader import Reader
from otel_sgp_exporter._record import Phase


def test_a_group_id_passes_to_the_spans_of_the_trace_that_have_none() -> None:
    memory = TraceMemory()
    to_item(start({"session.id": "case-7"}), memory=memory)
    assert to_item(end(span_id=5, parent=context(6)), memory=memory)["group_id"] == "case-7"
    assert "group_id" not in to_item(end(context=context(5, trace_id=TRACE_ID + 1)), memory=memory)


def test_a_spans_own_group_id_comes_before_the_traces() -> None:
    memory = TraceMemory()
    to_item(end({"session.id": "first"}), memory=memory)
    assert to_item(end({"session.id": "own"}), memory=memory)["group_id"] == "own"


def test_what_start_knew_is_still_known_at_the_end() -> None:
    memory = TraceMemory()
    to_item(start({"session.id": "case-7", "input.value": "asked", "plan": "pro"}), memory=memory)
    mapped = to_item(end({"output.value": "said"}), memory=memory)
    assert (mapped["input"], mapped["output"]) == ({"input": "asked"}, {"output": "said"})
    assert (mapped["group_id"], mapped["metadata"]["attributes"]) == ("case-7", {"plan": "pro"})


def test_the_end_comes_before_what_start_said() -> None:
    memory = TraceMemory()
    to_item(start({"input.value": "draft"}), memory=memory)
    assert to_item(end({"input.value": "final"}), memory=memory)["input"] == {"input": "final"}


def test_the_whole_conversation_survives_the_attribute_limit() -> None:
    """82 messages on a span of 128 attributes: the oldest are gone, but START had seen the request."""
    [entry] = load("oi_openai__chat_long_history")
    memory = TraceMemory()
    to_item(record(entry, Phase.START), memory=memory)
    whole = to_item(record(entry, Phase.END), memory=memory)
    alone = to_item(record(entry, Phase.END))
    assert (len(whole["input"]["messages"]), len(alone["input"]["messages"])) == (82, 58)
    assert "truncated" not in whole["metadata"]
    assert alone["metadata"]["truncated"] is True


def test_nothing_is_remembered_without_bound() -> None:
    recent: Recent[int, int] = Recent(3)
    for key in range(10):
        recent.add(key, key)
    assert [recent.get(key) for key in range(6, 10)] == [None, 7, 8, 9]


def test_a_large_start_is_not_kept() -> None:
    memory = TraceMemory()
    to_item(start({"input.value": "x" * 100_000}), memory=memory)
    assert repr(memory) == "<TraceMemory traces=0 calls=0 open=0>"


def test_threads_share_a_memory_without_a_lock() -> None:
    recent: Recent[int, int] = Recent(50)
    failures: list[Any] = []

    def hammer(offset: int) -> None:
        try:
            for key in range(offset, offset + 3_000):
                recent.add(key, key)
                recent.pop(key - 7, None)
        except Exception as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=hammer, args=(100_000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert failures == []
    assert len(recent) <= 54


@pytest.mark.parametrize("count", [10, 1_000])
def test_a_resource_is_kept_by_what_is_remembered_of_it_unless_that_is_much(count: int) -> None:
    """A thousand of the largest would be half a gigabyte."""
    resource = Resource({f"k{number}": number for number in range(count)})
    for span_id in (1, 2):
        assert len(to_item(end(span_id=span_id, resource=resource))["metadata"]["resource"]) == count
    kept = weakref.ref(resource)
    del resource
    gc.collect()
    assert (count == 10) == (kept() is not None)


@pytest.mark.parametrize("count", [10, 1_000])
def test_what_the_keys_of_a_span_say_is_remembered_unless_they_are_many(count: int) -> None:
    """A sender of thousands of other keys each time would fill memory with what is never asked for again."""
    first, second = (Reader({f"k{number}": number for number in range(count)}, FAMILIES) for _ in range(2))
    assert (count == 10) == (first.layout is second.layout)
