"""One agent run under the real instrumentations: what SGP sees of it is the same."""

from __future__ import annotations

import importlib
import json
from contextvars import copy_context
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from otel_sgp_exporter._mapping import TraceMemory, to_item
from otel_sgp_exporter._record import Phase, snapshot

pytest.importorskip("langgraph")

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

pytestmark = pytest.mark.filterwarnings("default")

ANSWER = "It is 18 degrees in Paris."
ARGUMENTS = {"city": "Paris", "unit": "celsius"}
RESULT = {"temp": 18, "sky": "sunny"}

GENAI = "opentelemetry.instrumentation.genai.langchain:LangChainInstrumentor"
OPENLLMETRY = "opentelemetry.instrumentation.langchain:LangchainInstrumentor"
OPENINFERENCE = "openinference.instrumentation.langchain:LangChainInstrumentor"


class Model(BaseChatModel):
    """Calls the tool, then answers."""

    model_name: str = "fake-gpt"

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, messages: list[Any], *args: Any, **kwargs: Any) -> ChatResult:
        answered = isinstance(messages[-1], ToolMessage)
        calls = [] if answered else [{"name": "get_weather", "args": ARGUMENTS, "id": "call-1"}]
        message = AIMessage(
            content=ANSWER if answered else "",
            tool_calls=calls,
            usage_metadata={"input_tokens": 57, "output_tokens": 17, "total_tokens": 74},
            response_metadata={"model_name": "fake-gpt", "finish_reason": "stop" if answered else "tool_calls"},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


@tool
def get_weather(city: str, unit: str) -> str:
    """The weather in a city."""
    return json.dumps(RESULT)


def run_agent() -> None:
    model = Model()
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([get_weather]))
    graph.set_entry_point("model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    question = {"messages": [{"role": "user", "content": "Weather in Paris?"}]}
    graph.compile(name="weather-agent").invoke(question, {"configurable": {"thread_id": "thread-42"}})


class Mapper(SpanProcessor):
    """Maps both records of every span, as an exporter's sender would."""

    def __init__(self) -> None:
        self.memory = TraceMemory()
        self.items: list[dict[str, Any]] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._map(Phase.START, span)

    def on_end(self, span: ReadableSpan) -> None:
        self.items.append(self._map(Phase.END, span))

    def _map(self, phase: Phase, span: ReadableSpan) -> dict[str, Any]:
        record = snapshot(phase, span)
        assert record is not None
        return to_item(record, memory=self.memory)


# OpenLLMetry comes last: it goes on after `uninstrument`, and its spans would be the parents of the others'.
@pytest.fixture(params=[GENAI, OPENINFERENCE, OPENLLMETRY], scope="module")
def items(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The items of one agent run under one instrumentation; skipped when that is not installed."""
    module, _, name = request.param.partition(":")
    pytest.importorskip(module, reason=f"{module} is not installed")
    mapper = Mapper()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(mapper)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
        instrumentor = getattr(importlib.import_module(module), name)()
        instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
        copy_context().run(run_agent)
        instrumentor.uninstrument()
    return mapper.items


def of_type(items: list[dict[str, Any]], span_type: str) -> list[dict[str, Any]]:
    return [item for item in items if item["type"] == span_type]


def test_the_model_is_called_twice_and_billed_twice(items: list[dict[str, Any]]) -> None:
    calls = of_type(items, "COMPLETION")
    assert [call["output"]["usage"]["total_tokens"] for call in calls] == [74, 74]
    assert [item for item in items if "usage" in item["output"]] == calls


def test_the_model_is_shown_asked_and_answering(items: list[dict[str, Any]]) -> None:
    first, last = of_type(items, "COMPLETION")
    assert first["input"]["messages"] == [{"role": "user", "content": "Weather in Paris?"}]
    assert first["output"]["tool_calls"] == [{"id": "call-1", "name": "get_weather", "args": ARGUMENTS}]
    assert last["output"]["content"] == ANSWER
    assert [message["role"] for message in last["input"]["messages"]] == ["user", "assistant", "tool"]


def test_the_tool_is_shown_with_arguments_and_result(items: list[dict[str, Any]]) -> None:
    [call] = of_type(items, "CODE_EXECUTION")
    # OpenInference records Python's own notation of the arguments.
    assert call["input"] in (ARGUMENTS, {"input": str(ARGUMENTS)})
    assert call["output"] == RESULT


def test_the_agent_is_a_workflow_in_its_conversation(items: list[dict[str, Any]]) -> None:
    [root] = [item for item in items if "parent_id" not in item]
    assert root["type"] in ("AGENT_WORKFLOW", "TRACER")
    assert root["group_id"] == "thread-42"
    assert {item["status"] for item in items} == {"SUCCESS"}
