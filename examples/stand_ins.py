"""What lets the example run without keys and without a network: a chat model and a weather service."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

WEATHER = {
    "Lisbon": {"city": "Lisbon", "celsius": 21, "sky": "sunny"},
    "Oslo": {"city": "Oslo", "celsius": -4, "sky": "snow"},
    "Paris": {"city": "Paris", "celsius": 12, "sky": "rain"},
}


class ChatStandIn(BaseChatModel):
    """Looks up every city the question names, then says what it found; remembers the conversation like a real model."""

    model: str = "stand-in-1"
    think_seconds: float = 1.0

    @property
    def _llm_type(self) -> str:
        return "stand-in"

    def bind_tools(self, tools: Sequence[BaseTool | Callable[..., Any]], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        time.sleep(self.think_seconds)
        reply = _look_up(messages) or _conclude(messages)
        words_in, words_out = sum(len(m.text.split()) for m in messages), len(reply.text.split()) or 8
        reply.usage_metadata = {
            "input_tokens": words_in,
            "output_tokens": words_out,
            "total_tokens": words_in + words_out,
        }
        return ChatResult(generations=[ChatGeneration(message=reply)])


def _look_up(messages: list[BaseMessage]) -> AIMessage | None:
    """A tool call for every city named in the last question, unless it has just been answered."""
    cities = [city for city in WEATHER if city in messages[-1].text]
    if not isinstance(messages[-1], HumanMessage) or not cities:
        return None
    calls = [{"name": "get_weather", "args": {"city": city}, "id": f"call_{uuid4().hex}"} for city in cities]
    return AIMessage("", tool_calls=calls, response_metadata={"finish_reason": "tool_calls"})


def _conclude(messages: list[BaseMessage]) -> AIMessage:
    """What was found out for the last question; for one that needed no look-up, what the conversation knows."""
    asked = max(index for index, message in enumerate(messages) if isinstance(message, HumanMessage))
    if reports := _reports(messages[asked:]):
        found = " and ".join(f"{report['celsius']} °C in {report['city']} ({report['sky']})" for report in reports)
        answer = f"It is {found}."
    else:
        coldest = min(_reports(messages), key=lambda report: report["celsius"], default={"city": "the north"})
        answer = f"Take a coat to {coldest['city']}."
    return AIMessage(answer, response_metadata={"finish_reason": "stop"})


def _reports(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    return [json.loads(message.text) for message in messages if isinstance(message, ToolMessage)]


class _WeatherHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer_seconds = 0.5

    def do_GET(self) -> None:
        time.sleep(self.answer_seconds)
        city = parse_qs(urlsplit(self.path).query).get("city", [""])[0]
        body = json.dumps(WEATHER.get(city, {"error": f"no weather for {city}"})).encode()
        self.send_response(200 if city in WEATHER else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""


@contextmanager
def weather_service(answer_seconds: float) -> Iterator[str]:
    """A weather service on a free local port; gives its URL."""
    handler = type("WeatherHandler", (_WeatherHandler,), {"answer_seconds": answer_seconds})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
