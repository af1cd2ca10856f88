"""Messages in span events: the GenAI conventions before they moved to attributes (Strands, Azure, Semantic Kernel)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import Event

from otel_sgp_exporter._mapping._reader import decode
from otel_sgp_exporter._mapping._source import Source

_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CHOICE = "gen_ai.choice"
_BODIES = ("gen_ai.event.content", "content", "message")

MESSAGES = Source("gen_ai.event.messages")
CHOICES = Source("gen_ai.event.choices")


def said_in(events: Sequence[Event]) -> dict[str, Any]:
    """The messages of the events under the keys of the two sources, as if they were attributes."""
    said: dict[str, list[Any]] = {}
    for event in events:
        if role := _ROLES.get(event.name):
            said.setdefault(MESSAGES.key, []).append(_message(role, event))
        elif event.name == _CHOICE:
            said.setdefault(CHOICES.key, []).append(_message("assistant", event))
    return dict(said)


def source_of(name: str) -> str | None:
    """The key of the source that an event of this name feeds, None if it is no message."""
    return MESSAGES.key if name in _ROLES else CHOICES.key if name == _CHOICE else None


def _message(role: str, event: Event) -> dict[str, Any]:
    attributes = event.attributes or {}
    body = next((attributes[key] for key in _BODIES if key in attributes), None)
    body = decode(body) if isinstance(body, str) else body
    message = {"role": role, "finish_reason": attributes.get("finish_reason"), "tool_call_id": attributes.get("id")}
    if not isinstance(body, dict):
        return {**message, "content": body}
    inner = body.get("message")
    return {**message, **body, "message": None, **inner} if isinstance(inner, dict) else {**message, **body}
