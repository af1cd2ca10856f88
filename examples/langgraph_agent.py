"""A LangGraph agent whose every span shows up in Scale GenAI Platform (SGP) while it runs.

Against a local SGP, run `otel-sgp serve` in another terminal, then:

    export OTEL_EXPORTER_SGP_ENDPOINT=http://127.0.0.1:5003
    export OTEL_EXPORTER_SGP_API_KEY=local OTEL_EXPORTER_SGP_ACCOUNT_ID=local
    python examples/langgraph_agent.py

Against SGP, leave the endpoint out and give your own key and account. With OPENAI_API_KEY set a real model answers,
otherwise a stand-in does.
"""

from __future__ import annotations

import argparse
import os
from typing import Any
from uuid import uuid4

# Read by the instrumentations: put prompts and answers on the spans, where an exporter sees them (the default is
# nowhere), and give HTTP spans their stable attribute names.
os.environ.setdefault("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from opentelemetry import trace
from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from stand_ins import ChatStandIn, weather_service

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter

QUESTIONS = (
    "What is the weather in Paris?",
    "Is it colder in Oslo than in Lisbon?",
    "Where do I need a coat?",
)


def set_up_tracing() -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "weather-agent"}))
    provider.add_span_processor(ConcurrentBatchSpanProcessor(SGPSpanExporter()))
    trace.set_tracer_provider(provider)
    LangChainInstrumentor().instrument(skip_dep_check=True)  # it asks for langchain, LangGraph alone is enough
    HTTPXClientInstrumentor().instrument()


def build_agent(model: BaseChatModel, weather_url: str) -> CompiledStateGraph[Any]:
    """A model that may call a tool, and is asked again with what the tool found."""

    @tool
    def get_weather(city: str) -> dict[str, Any]:
        """Get the current weather of a city."""
        return httpx.get(f"{weather_url}/weather", params={"city": city}).raise_for_status().json()

    def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.bind_tools([get_weather]).invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", think)
    graph.add_node("tools", ToolNode([get_weather]))
    graph.set_entry_point("model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    # The instrumentation takes a graph for an agent when its name says so, otherwise for a workflow.
    return graph.compile(checkpointer=InMemorySaver(), name="weather-agent")


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask a traced weather agent three questions.")
    parser.add_argument("--think-seconds", type=float, default=1.0, help="how long the stand-in model takes to answer")
    think_seconds = parser.parse_args().think_seconds

    set_up_tracing()
    # Each question is a trace of its own; the thread id becomes the group_id that holds them together in SGP.
    conversation = {"configurable": {"thread_id": f"weather-{uuid4()}"}}
    with weather_service(answer_seconds=think_seconds / 2) as weather_url:
        has_key = os.environ.get("OPENAI_API_KEY")
        model = ChatOpenAI(model="gpt-4o-mini") if has_key else ChatStandIn(think_seconds=think_seconds)
        agent = build_agent(model, weather_url)
        for question in QUESTIONS:
            print(f"> {question}")
            answer = agent.invoke({"messages": [("user", question)]}, conversation)
            print(answer["messages"][-1].text)
    # No flush and no shutdown: what is still waiting is delivered when the interpreter exits.


if __name__ == "__main__":
    main()
