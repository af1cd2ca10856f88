"""A search request: its filters, order and page, checked and turned into a query for the store."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .codec import encode
from .fields import Parser, boolean, choice, hex_id, integer, list_of, mapping, parse_fields, string, timestamp
from .finding import SORTS, Query
from .refusal import Location, Problem, Refusal, invalid, problem, refused
from .settings import Settings
from .timestamps import DAY_MICROS, iso
from .validation import STATUSES, TYPES

MAX_LIMIT = 10_000
MAX_IDS = 10_000
MAX_WINDOW_MICROS = 90 * DAY_MICROS
MAX_TERMS = 10

_COUNTED_IDS = ("trace_ids", "span_ids", "parent_ids", "excluded_trace_ids", "excluded_span_ids")
_COUNTED_PAIRS = ("spans", "excluded_spans")
_AGENTEX_KEYS = {
    "acp_types": "__acp_type__",
    "agentex_agent_names": "__agent_name__",
    "agentex_agent_ids": "__agent_id__",
}
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_UUID = {
    "loose": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE),
    "rfc": re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE),
}


def _pair(value: Any) -> dict[str, str]:
    pair = mapping(value)
    return {"trace_id": string(pair.get("trace_id")), "span_id": string(pair.get("span_id"))}


_NATURAL = integer(0, 1 << 53)
_BODY: dict[str, Parser] = {
    **dict.fromkeys(_COUNTED_IDS, list_of(string)),
    **dict.fromkeys(_COUNTED_PAIRS, list_of(_pair)),
    **dict.fromkeys(_AGENTEX_KEYS, list_of(string)),
    "names": list_of(string),
    "application_variant_ids": list_of(string),
    "assessment_types": list_of(string),
    "search_texts": list_of(string),
    "statuses": list_of(choice(STATUSES)),
    "types": list_of(choice(TYPES)),
    "obs_trace_ids": list_of(hex_id(32)),
    "obs_span_ids": list_of(hex_id(16)),
    "group_id": string,
    "parents_only": boolean,
    "extra_metadata": mapping,
    "min_duration_ms": _NATURAL,
    "max_duration_ms": _NATURAL,
}
# Filters that the store knows by the same name.
_PLAIN = _BODY.keys() - {"search_texts", "extra_metadata", *_AGENTEX_KEYS}


@dataclass
class Search:
    """A search as asked for.

    `query` lacks only its cursor, `single_terms` are filters by one of its text terms each, `window` is what the reply
    says about the time window.
    """

    query: Query
    single_terms: list[str]
    cursor: str | None
    allow_partial: bool
    window: dict[str, Any]


class SearchParser:
    """Reads search requests under one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._params: dict[str, Parser] = {
            "limit": integer(1, MAX_LIMIT),
            "sort_by": string,
            "sort_order": choice(("asc", "desc")),
            "from_ts": timestamp(settings),
            "to_ts": timestamp(settings),
            "starting_after": string,
            "ending_before": string,
            "allow_partial_results": boolean,
        }

    def parse(self, params: Mapping[str, str], body: Any) -> Search:
        """Refused with 422 when any part of the request is not understood, or not served by the primary store."""
        problems: list[Problem] = []
        asked = parse_fields(self._params, params, ("query",), problems)
        wanted = parse_fields(_BODY, body, ("body",), problems)
        if problems:
            raise invalid(problems)
        given = {name: value for name, value in wanted.items() if value not in (None, []) and value is not False}
        filters = self._filters(given)
        window = self._window(asked["from_ts"], asked["to_ts"], filters)
        query = Query(
            filters,
            sort=self._sort(asked["sort_by"]),
            descending=asked["sort_order"] == "desc",
            limit=asked["limit"] or 100,
            backwards=asked["ending_before"] is not None,
        )
        partial = self._settings.tracing_is_primary and bool(asked["allow_partial_results"])
        cursor = asked["starting_after"] or asked["ending_before"]
        return Search(query, self._single_terms(given.get("search_texts", [])), cursor, partial, window)

    def _filters(self, wanted: dict[str, Any]) -> dict[str, Any]:
        ids = sum(len(wanted.get(name, ())) for name in _COUNTED_IDS)
        if ids + 2 * sum(len(wanted.get(name, ())) for name in _COUNTED_PAIRS) > MAX_IDS:
            raise _invalid(("body",), f"at most {MAX_IDS} ids in all, a pair counting 2")
        if not self._settings.tracing_is_primary and wanted.keys() & {"obs_trace_ids", "obs_span_ids"}:
            raise _invalid(("body",), "obs_trace_ids and obs_span_ids are not served by the legacy store")
        if "excluded_spans" in wanted:
            wanted.pop("excluded_span_ids", None)
        filters = {name: _bound(value) for name, value in wanted.items() if name in _PLAIN}
        metadata = [{key: wanted[name]} for name, key in _AGENTEX_KEYS.items() if name in wanted]
        metadata += [wanted["extra_metadata"]] if "extra_metadata" in wanted else []
        if metadata:
            filters["metadata"] = _bound({"all": metadata, "composed": self._settings.profile == "tracing-ch"})
        if "search_texts" in wanted:
            filters["texts"] = self._texts(wanted["search_texts"])
        return filters

    def _texts(self, given: list[str]) -> str:
        terms = [self._term(text) for text in given]
        tracing = self._settings.tracing_is_primary
        if tracing and (len(terms) > MAX_TERMS or any(len(term["text"].strip()) < 2 for term in terms)):
            raise _invalid(("body", "search_texts"), f"at most {MAX_TERMS} terms of 2 or more characters")
        uuid = _UUID[self._settings.uuid_terms]
        texts = {
            "terms": [term for term in terms if term["quoted"] or not uuid.fullmatch(term["text"])],
            "trace_ids": [term["text"] for term in terms if not term["quoted"] and uuid.fullmatch(term["text"])],
            "fields": ["name", "input", "output", "metadata"] if tracing else ["input", "output"],
            "compounds": self._settings.searches_postgres,
        }
        return encode(texts).decode()

    def _term(self, text: str) -> dict[str, Any]:
        """What to look for: a term in double quotes is the phrase between them. Legacy knows no phrases, only words."""
        quoted = _QUOTED.fullmatch(text.strip())
        if not self._settings.tracing_is_primary:
            return {"text": text.replace('"', ""), "quoted": False}
        return {"text": _ESCAPED.sub(r"\1", quoted[1]) if quoted else text, "quoted": quoted is not None}

    def _single_terms(self, given: list[str]) -> list[str]:
        """On Postgres each term is counted on its own."""
        return [self._texts([text]) for text in given] if self._settings.searches_postgres else []

    def _window(self, from_us: int | None, to_us: int | None, filters: dict[str, Any]) -> dict[str, Any]:
        """Put the time window into `filters`; on tracing it reaches back at most 90 days, and the reply says so."""
        if from_us is not None and to_us is not None and from_us > to_us:
            raise _invalid(("query", "from_ts"), "from_ts must not be after to_ts")
        tracing = self._settings.tracing_is_primary
        until = time.time_ns() // 1000 if to_us is None else to_us
        truncated = tracing and from_us is not None and until - from_us > MAX_WINDOW_MICROS
        if truncated:
            from_us = until - MAX_WINDOW_MICROS
        filters.update({"from_us": from_us} if from_us is not None else {})
        filters.update({"to_us": to_us} if to_us is not None else {})
        if not tracing:
            return {}
        return {
            "window_truncated": truncated,
            "effective_from_ts": None if from_us is None else iso(from_us),
            "effective_to_ts": iso(until),
        }

    def _sort(self, sort_by: str | None) -> str:
        if sort_by in (None, "start_timestamp", "duration_ms"):
            return sort_by or "start_timestamp"
        if not self._settings.tracing_is_primary:
            if sort_by in SORTS:
                raise refused(self._settings.legacy_token_sort_status, f"sort_by={sort_by} needs token counts")
            return "start_timestamp"
        if sort_by not in SORTS:
            raise _invalid(("query", "sort_by"), f"Input should be one of {', '.join(SORTS)}")
        return str(sort_by)


def project_filter(project: str) -> str:
    """Which field of a root span carries its project is not published: here it is one of the metadata."""
    return str(_bound({"all": [{"project_id": project}], "composed": False}))


def _bound(value: Any) -> Any:
    return encode(value).decode() if isinstance(value, (list, dict)) else value


def _invalid(location: Location, message: str) -> Refusal:
    return invalid([problem("value_error", location, f"Value error, {message}", None)])
