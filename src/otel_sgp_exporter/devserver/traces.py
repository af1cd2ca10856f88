"""What the page reads: traces in summary, the spans of one, a span with its arrivals. A connection of its own."""

from __future__ import annotations

import sqlite3
from os import PathLike
from typing import Any

from .codec import decode
from .matching import says
from .settings import StoreName

MOST_TRACES = 1000
MOST_SPANS = 5000
MOST_SEARCHED = 4000
LONGEST_NAME = 400

# Large documents are not looked into for what a list shows beside a name.
_SMALL_BYTES = 1 << 16
_TEXT = "CAST(document AS TEXT)"
_JSON = f"CASE WHEN length(document) < {_SMALL_BYTES} AND json_valid({_TEXT}) THEN {_TEXT} END"
_CALLED = f"""coalesce(json_extract({_JSON}, '$.output.tool_calls[0].name'),
    json_extract({_JSON}, '$.output.tool_calls[0].function.name'))"""
_HINT = f"""substr(coalesce(json_extract({_JSON}, '$.metadata.error_message'),
    nullif(json_extract({_JSON}, '$.output.content'), ''), json_extract({_JSON}, '$.output.messages[#-1].content'),
    '→ ' || {_CALLED}, json_extract({_JSON}, '$.output')), 1, 160)"""
_ASKED = f"""substr(coalesce(json_extract({_JSON}, '$.input.messages[#-1].content'),
    json_extract({_JSON}, '$.input.input'), json_extract({_JSON}, '$.input')), 1, 160)"""


# When spans of a trace sum up others, only they count, as with SGP. Sums are of reals: integers may overflow.
_TOTAL = "coalesce(sum(CASE WHEN is_aggregate THEN {0} END), sum({0})) AS {1}"
_TOTALS = ", ".join(
    _TOTAL.format(f"CAST({name} AS REAL)", name) for name in ("input_tokens", "output_tokens", "cost_usd")
)

LATEST = "SELECT coalesce(max(version), 0) FROM {table}"
OLDEST = "SELECT coalesce(min(version), 0) FROM {table}"

# With one min() or max(), SQLite takes the bare columns from the row that has it: the root, or the first span if there
# is none. Hence two passes over the spans of a trace.
SUMMARIES = """
WITH touched AS (
    SELECT account, trace_id, max(version) AS version FROM {table} WHERE version > :after
    GROUP BY account, trace_id ORDER BY version {order} LIMIT :limit
), heads AS (
    SELECT account, trace_id, touched.version, id, name, status, end_us IS NULL AS running,
        min(start_us - (parent_id IS NULL) * (1 << 60)) AS root
    FROM touched JOIN {table} USING (account, trace_id) GROUP BY account, trace_id
)
SELECT account, trace_id, heads.version, heads.id AS root_id, substr(heads.name, 1, {longest}) AS name,
    heads.status, heads.running,
    (SELECT {asked} FROM {table} AS head
        WHERE head.id = heads.id AND head.trace_id = heads.trace_id AND head.account = heads.account) AS asked,
    max(group_id) AS group_id, group_concat(DISTINCT type) AS types, min(start_us) AS start_us, max(end_us) AS end_us,
    max(max(coalesce(start_arrived_us, 0), coalesce(end_arrived_us, 0))) AS arrived_us,
    count(*) AS spans, sum(end_us IS NULL) AS open, sum(spans.status = 'ERROR') AS errors,
    sum(late_starts) AS late_starts, {totals}
FROM heads JOIN {table} AS spans USING (account, trace_id)
GROUP BY account, trace_id ORDER BY heads.version
"""

SPANS = """
SELECT rowid AS key, version, id, parent_id, substr(name, 1, {longest}) AS name, type, status,
    start_us, end_us, start_arrived_us, end_arrived_us, late_starts, input_tokens, output_tokens, {hint} AS hint
FROM {table} WHERE account = :account AND trace_id = :trace_id AND version > :after ORDER BY version LIMIT :limit
"""

CONTENTS = """
SELECT version, account, trace_id, rowid AS key, document FROM {table} WHERE version > ? AND version < ?
ORDER BY version DESC LIMIT ?
"""

SPAN = """
SELECT version, start_arrived_us, end_arrived_us, starts, ends, late_starts, document FROM {table} WHERE rowid = ?
"""


class TraceReader:
    """Reads the primary store; belongs to one thread of its own, so that the page holds up neither writes nor searches.

    Tables are answered as {columns, rows}, a third of the size of a list of objects.
    """

    def __init__(self, database: str | PathLike[str], table: StoreName) -> None:
        self._connection = sqlite3.connect(database, check_same_thread=False)
        parts = {"table": table, "totals": _TOTALS, "hint": _HINT, "asked": _ASKED, "longest": LONGEST_NAME}
        self._sql = {
            "latest": LATEST.format(**parts),
            "oldest": OLDEST.format(**parts),
            "newest traces": SUMMARIES.format(order="DESC", **parts),
            "changed traces": SUMMARIES.format(order="ASC", **parts),
            "spans": SPANS.format(**parts),
            "contents": CONTENTS.format(**parts),
            "span": SPAN.format(**parts),
        }

    def latest(self) -> int:
        """The version of the last write; 0 when there is none."""
        return int(self._connection.execute(self._sql["latest"]).fetchone()[0])

    def summaries(self, after: int) -> dict[str, Any]:
        """A row for each trace written to since version `after`, at most `MOST_TRACES`.

        Of all traces (`after` is 0) these are the newest, of changed ones those changed first. Writes up to version
        `latest` are part of the answer; what has a version below `oldest` has been forgotten.
        """
        # Before the rows: what is written in between is then part of this answer and of the next.
        latest = self.latest()
        oldest = self._connection.execute(self._sql["oldest"]).fetchone()[0]
        table = self._table("changed traces" if after else "newest traces", {"after": after, "limit": MOST_TRACES})
        if after and len(table["rows"]) == MOST_TRACES:
            latest = table["rows"][-1][table["columns"].index("version")]
        return {"latest": latest, "oldest": oldest, **table}

    def spans(self, account: str, trace_id: str, after: int) -> dict[str, Any]:
        """The first `MOST_SPANS` spans of the trace written since version `after`, without their documents."""
        wanted = {"account": account, "trace_id": trace_id, "after": after, "limit": MOST_SPANS}
        table = self._table("spans", wanted)
        return {"more": len(table["rows"]) == MOST_SPANS, **table}

    def matches(self, text: str, after: int, before: int) -> dict[str, Any]:
        """The spans that say `text`, case-insensitively, of the newest `MOST_SEARCHED` between those versions.

        `next` is where to go on, as `before`; None when that was all.
        """
        rows = self._connection.execute(self._sql["contents"], (after, before, MOST_SEARCHED)).fetchall()
        found = [row[1:4] for row in rows if says(row[4], text)]
        more = len(rows) == MOST_SEARCHED
        return {"columns": ["account", "trace_id", "key"], "rows": found, "next": rows[-1][0] if more else None}

    def span(self, key: int) -> dict[str, Any] | None:
        """One span as the API answers with it, and how it came in."""
        table = self._table("span", (key,))
        if not table["rows"]:
            return None
        row = dict(zip(table["columns"], table["rows"][0], strict=True))
        return {**row, "document": decode(row["document"])}

    def close(self) -> None:
        self._connection.close()

    def _table(self, name: str, bound: dict[str, Any] | tuple[Any, ...]) -> dict[str, Any]:
        cursor = self._connection.execute(self._sql[name], bound)
        return {"columns": [column[0] for column in cursor.description], "rows": cursor.fetchall()}
