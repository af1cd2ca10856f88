"""Searches in SQL: what may be asked for, in which order, and where a page begins."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any

from .matching import metadata_matches, text_matches
from .settings import StoreName

_IN_LIST = {
    "trace_ids": "trace_id",
    "span_ids": "id",
    "parent_ids": "parent_id",
    "names": "name",
    "statuses": "status",
    "types": "type",
    "application_variant_ids": "application_variant_id",
    "obs_trace_ids": "obs_trace_id",
    "obs_span_ids": "obs_span_id",
}
_LISTED = "{column} IN (SELECT value FROM json_each(:{name}))"
_PAIRS = "(SELECT json_extract(value, '$.trace_id'), json_extract(value, '$.span_id') FROM json_each(:{name}))"

# What a search may ask for. Lists are bound as JSON.
FILTERS = {
    **{name: _LISTED.format(column=column, name=name) for name, column in _IN_LIST.items()},
    "excluded_trace_ids": "trace_id NOT IN (SELECT value FROM json_each(:excluded_trace_ids))",
    "excluded_span_ids": "id NOT IN (SELECT value FROM json_each(:excluded_span_ids))",
    "spans": "(trace_id, id) IN " + _PAIRS.format(name="spans"),
    "excluded_spans": "(trace_id, id) NOT IN " + _PAIRS.format(name="excluded_spans"),
    "group_id": "group_id = :group_id",
    "parents_only": "parent_id IS NULL",
    "min_duration_ms": "end_us - start_us >= 1000 * :min_duration_ms",
    "max_duration_ms": "end_us - start_us <= 1000 * :max_duration_ms",
    "assessment_types": "0",  # nothing here is ever assessed
    "project": """trace_id IN (SELECT root.trace_id FROM {table} AS root WHERE root.account = :account
        AND root.parent_id IS NULL AND metadata_matches(root.document, :project))""",
    "metadata": "metadata_matches(document, :metadata)",
    "texts": "text_matches(document, :texts)",
    "from_us": "start_us >= :from_us",
    "to_us": "start_us <= :to_us",
}
_WINDOW = ("from_us", "to_us", "trace_ids")
SORTS = {
    "start_timestamp": "start_us",
    "duration_ms": "coalesce(end_us - start_us, 0)",
    "input_tokens": "coalesce(input_tokens, 0)",
    "output_tokens": "coalesce(output_tokens, 0)",
}
# Rows of one span that differ in the UTC day of their start: the newest within the window answers for all. The pluses
# keep SQLite from looking through the whole trace of every row.
NEWEST = """NOT EXISTS (SELECT 1 FROM traces AS newer WHERE newer.id = traces.id
    AND newer.trace_id = traces.trace_id AND +newer.account = traces.account AND +newer.version > traces.version
    AND +newer.start_us BETWEEN :first_us AND :last_us)"""
SEARCH = """
SELECT document, {sort}, trace_id, id FROM {table} WHERE {where}
ORDER BY {sort} {direction}, trace_id {direction}, id {direction} LIMIT :limit
"""
REACH = """
SELECT {sort}, trace_id, id FROM {table} WHERE {where}
ORDER BY {sort} {direction}, trace_id {direction}, id {direction} LIMIT 2 OFFSET :limit
"""
COUNT = "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {where} LIMIT :limit)"

Position = tuple[int, str, str]
"""Where a row stands in a sorted search: its sort value, trace id and id."""


@dataclass
class Query:
    """One page of a search: at most `limit` rows beyond the position `beyond`, or before it when `backwards`.

    Rows beyond the position `until` are not looked at.
    """

    filters: dict[str, Any] = field(default_factory=dict)
    sort: str = "start_timestamp"
    descending: bool = False
    limit: int = 100
    beyond: Position | None = None
    until: Position | None = None
    backwards: bool = False


@dataclass
class Found:
    document: bytes
    position: Position


class Finder:
    """Searches over a connection of its own; belongs to one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.create_function("metadata_matches", 2, metadata_matches, deterministic=True)
        connection.create_function("text_matches", 2, text_matches, deterministic=True)

    def search(self, table: StoreName, account: str, query: Query) -> list[Found]:
        """The rows in the order asked for, whichever way the page lies."""
        found = [Found(row[0], row[1:]) for row in self._run(SEARCH, table, account, query)]
        return found[::-1] if query.backwards else found

    def position(self, table: StoreName, account: str, span_id: str, query: Query) -> Position | None:
        """Where the span of that id stands in the search, even if it no longer meets all filters.

        Of several, the last in the direction of the search: pages then leave one out rather than go round for ever.
        """
        same: dict[str, Any] = {name: query.filters[name] for name in _WINDOW if name in query.filters}
        last = Query({**same, "span_ids": json.dumps([span_id])}, query.sort, query.descending, limit=1)
        last.backwards = not query.backwards
        found = self.search(table, account, last)
        return found[0].position if found else None

    def reach(self, table: StoreName, account: str, query: Query, rows: int) -> Position | None:
        """How far a search gets that looks at so many rows of its window; None when it gets through all of them."""
        window = {name: value for name, value in query.filters.items() if name in _WINDOW}
        seen = Query(window, query.sort, query.descending, rows - 1, query.beyond, backwards=query.backwards)
        last_and_next: list[Position] = list(self._run(REACH, table, account, seen))
        return last_and_next[0] if len(last_and_next) == 2 else None

    def count(self, table: StoreName, account: str, filters: dict[str, Any], most: int) -> int:
        """How many rows meet the filters, counted up to `most`."""
        return int(next(self._run(COUNT, table, account, Query(filters, limit=most)))[0])

    def _run(self, template: str, table: StoreName, account: str, query: Query) -> sqlite3.Cursor:
        bound = {"account": account, "limit": query.limit, "first_us": -(1 << 63), "last_us": (1 << 63) - 1}
        bound |= query.filters
        bound |= {"first_us": bound.get("from_us", bound["first_us"]), "last_us": bound.get("to_us", bound["last_us"])}
        where = ["account = :account", *(FILTERS[name].replace("{table}", table) for name in query.filters)]
        if table == "traces":
            where.append(NEWEST)
        descending = query.descending != query.backwards
        bounds = [
            ("beyond", query.beyond, "<" if descending else ">"),
            ("until", query.until, ">=" if descending else "<="),
        ]
        for name, position, compared in bounds:
            if position is not None:
                parts = [f"{name}_value", f"{name}_trace_id", f"{name}_id"]
                bound |= dict(zip(parts, position, strict=True))
                where.append(f"({SORTS[query.sort]}, trace_id, id) {compared} (:{', :'.join(parts)})")
        sql = template.format(
            table=table, sort=SORTS[query.sort], where=" AND ".join(where), direction="DESC" if descending else "ASC"
        )
        return self._connection.execute(sql, bound)
