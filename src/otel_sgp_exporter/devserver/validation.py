"""What a write item must look like: one parser per field, every problem of every item reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias
from uuid import uuid4

from .fields import Parser, choice, hex_id, mapping, parse_fields, string, text, timestamp
from .refusal import Location, Problem, invalid, problem
from .settings import Settings

Span: TypeAlias = dict[str, Any]
"""A valid write item with every field present; timestamps are microseconds since the epoch."""

MAX_ITEMS = 1000
STATUSES = ("SUCCESS", "ERROR", "CANCELED")
TYPES = (
    "TEXT_INPUT",
    "TEXT_OUTPUT",
    "COMPLETION_INPUT",
    "COMPLETION",
    "KB_RETRIEVAL",
    "KB_INPUT",
    "RERANKING",
    "EXTERNAL_ENDPOINT",
    "PROMPT_ENGINEERING",
    "DOCUMENT_INPUT",
    "MAP_REDUCE",
    "DOCUMENT_SEARCH",
    "DOCUMENT_PROMPT",
    "CUSTOM",
    "CODE_EXECUTION",
    "DATA_MANIPULATION",
    "EVALUATION",
    "FILE_RETRIEVAL",
    "KB_ADD_CHUNK",
    "KB_MANAGEMENT",
    "GUARDRAIL",
    "OUTPUT_GUARDRAIL",
    "TRACER",
    "AGENT_TRACER",
    "AGENT_WORKFLOW",
    "STANDALONE",
)
FREE_FORM = ("input", "output", "metadata", "expected")

_REQUIRED = frozenset({"name", "trace_id", "start_timestamp"})
_ID_CHARACTERS = 256


class Validator:
    """Turns write items into spans under one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        strict = settings.obs_id_check == "strict"
        zero_allowed = settings.zero_obs_ids == "accept"
        self._parsers: dict[str, Parser] = {
            "id": text(_ID_CHARACTERS),
            "name": string,
            "trace_id": text(settings.trace_id_max),
            "parent_id": text(_ID_CHARACTERS),
            "group_id": text(_ID_CHARACTERS),
            "start_timestamp": timestamp(settings),
            "end_timestamp": timestamp(settings),
            "status": choice(STATUSES),
            "type": choice(TYPES),
            **dict.fromkeys(FREE_FORM, mapping),
            "obs_trace_id": hex_id(32, zero_allowed=zero_allowed) if strict else string,
            "obs_span_id": hex_id(16, zero_allowed=zero_allowed) if strict else string,
            "application_interaction_id": string,
            "application_variant_id": string,
        }

    def batch(self, body: Any) -> list[Span]:
        """The spans of `{"items": [...]}`; refused with 422 naming every problem of every item."""
        items = _items(body)
        if not items and self._settings.empty_batch == 422:
            raise invalid([problem("too_short", ("body", "items"), "List should have at least 1 item", items)])
        problems: list[Problem] = []
        spans = [self._span(item, ("body", "items", index), problems) for index, item in enumerate(items)]
        if problems:
            raise invalid(problems)
        return spans

    def one(self, body: Any) -> Span:
        """The span of a body that is one item."""
        problems: list[Problem] = []
        span = self._span(body, ("body",), problems)
        if problems:
            raise invalid(problems)
        return span

    def _span(self, item: Any, location: Location, problems: list[Problem]) -> Span:
        span = parse_fields(self._parsers, item, location, problems, _REQUIRED)
        problems.extend(self._contradictions(span, location))
        span["id"] = str(uuid4()) if span["id"] is None else span["id"]
        span["status"] = span["status"] or "SUCCESS"
        span["type"] = span["type"] or "STANDALONE"
        return span

    def _contradictions(self, span: Span, location: Location) -> Iterator[Problem]:
        start, end = span["start_timestamp"], span["end_timestamp"]
        if start is not None and end is not None and end < start:
            message = "Value error, end_timestamp must not precede start_timestamp"
            yield problem("value_error", (*location, "end_timestamp"), message, end)
        if self._settings.obs_id_check == "strict" and span["obs_span_id"] and not span["obs_trace_id"]:
            message = "Value error, obs_span_id requires obs_trace_id"
            yield problem("value_error", (*location, "obs_span_id"), message, span["obs_span_id"])


def _items(body: Any) -> list[Any]:
    where = ("body", "items")
    if not isinstance(body, dict):
        raise invalid([problem("model_attributes_type", ("body",), "Input should be a valid dictionary", body)])
    if "items" not in body:
        raise invalid([problem("missing", where, "Field required", body)])
    items = body["items"]
    if not isinstance(items, list):
        raise invalid([problem("list_type", where, "Input should be a valid list", items)])
    if len(items) > MAX_ITEMS:
        message = f"List should have at most {MAX_ITEMS} items after validation, not {len(items)}"
        raise invalid([problem("too_long", where, message, None)])
    return items
