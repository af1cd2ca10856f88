"""The spans on disk: SQLite in WAL mode, one connection that writes, one that reads."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from itertools import count
from os import PathLike
from typing import Any

from .codec import decode
from .finding import Finder
from .row import Row, Write
from .settings import Settings, StoreName

KEYS: dict[StoreName, str] = {"legacy": "id, scope", "traces": "id, trace_id, account, start_day"}
SCHEMA_VERSION = 2

# version numbers all writes, a row keeps that of its last one. The arrived_us columns are of the first START and END.
SCHEMA = """
CREATE TABLE IF NOT EXISTS {table} (
    scope TEXT NOT NULL, account TEXT NOT NULL, trace_id TEXT NOT NULL, id TEXT NOT NULL, start_day INTEGER NOT NULL,
    name TEXT NOT NULL, parent_id TEXT, group_id TEXT, status TEXT NOT NULL, type TEXT NOT NULL,
    start_us INTEGER NOT NULL, end_us INTEGER, application_variant_id TEXT, obs_trace_id TEXT, obs_span_id TEXT,
    input_tokens INTEGER, output_tokens INTEGER, cost_usd REAL, is_aggregate INTEGER NOT NULL, document BLOB NOT NULL,
    version INTEGER NOT NULL, starts INTEGER NOT NULL, ends INTEGER NOT NULL, late_starts INTEGER NOT NULL,
    start_arrived_us INTEGER, end_arrived_us INTEGER, PRIMARY KEY ({key})
);
CREATE INDEX IF NOT EXISTS {table}_version ON {table} (version);
CREATE INDEX IF NOT EXISTS {table}_trace ON {table} (account, trace_id);
CREATE INDEX IF NOT EXISTS {table}_start ON {table} (account, start_us);
"""

UPSERT = """
INSERT INTO {table} VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET {contents},
    version = excluded.version, starts = starts + excluded.starts, ends = ends + excluded.ends,
    late_starts = late_starts + CASE WHEN ends > 0 THEN excluded.starts ELSE excluded.late_starts END,
    start_arrived_us = coalesce(start_arrived_us, excluded.start_arrived_us),
    end_arrived_us = coalesce(end_arrived_us, excluded.end_arrived_us)
"""
_WRITE_COLUMNS = 6

FORGET = """
DELETE FROM {table} WHERE version IN
    (SELECT version FROM {table} ORDER BY version LIMIT max(0, (SELECT count(*) FROM {table}) - ?))
"""

CLEAR = "DELETE FROM {table}"
LAST_VERSION = "SELECT max(version) FROM {table}"
GET = "SELECT document FROM {table} WHERE account = ? AND id = ? ORDER BY version DESC LIMIT 1"
EXISTS = "SELECT 1 FROM {table} WHERE id = ? LIMIT 1"
LEGACY_TRACES = "SELECT id, trace_id FROM legacy WHERE scope = ? AND id IN (SELECT value FROM json_each(?))"
WRITES_PER_ID = "SELECT starts + ends, count(*) FROM {table} GROUP BY 1 ORDER BY 1"
LATE_STARTS = "SELECT coalesce(sum(late_starts), 0) FROM {table}"
ARRIVALS = """
SELECT account, trace_id, id, start_arrived_us, end_arrived_us, starts, ends, late_starts, document
FROM {table} WHERE id = coalesce(?, id) AND trace_id = coalesce(?, trace_id) ORDER BY version
"""


class Store:
    """Both stores of one database file.

    What reads many rows (`finder`, `arrivals` and the counts) belongs to one thread, every other method to another:
    each thread has its own connection, and a long search holds up no write.
    """

    def __init__(self, database: str | PathLike[str], settings: Settings) -> None:
        self._settings = settings
        with ExitStack() as connections:
            self._writer = connections.enter_context(closing(sqlite3.connect(database, check_same_thread=False)))
            self._prepare(str(database))
            self._reader = connections.enter_context(closing(sqlite3.connect(database, check_same_thread=False)))
            self._connections = connections.pop_all()
        self.finder = Finder(self._reader)
        newest = (self._writer.execute(LAST_VERSION.format(table=table)).fetchone()[0] or 0 for table in KEYS)
        self._versions = count(max(newest) + 1)
        self._writes_until_forgetting = 0

    def upsert(self, writes: dict[StoreName, list[Write]]) -> None:
        """Replace the rows of every store named, in one transaction; what is committed survives the process."""
        now_us = time.time_ns() // 1000
        with self._writer:
            for table, store_writes in writes.items():
                rows = [self._row(write, now_us) for write in store_writes]
                self._writer.executemany(self._upsert_sql(table), rows)
            self._forget_oldest(sum(map(len, writes.values())))

    def clear(self) -> None:
        with self._writer:
            for table in KEYS:
                self._writer.execute(CLEAR.format(table=table))

    def legacy_traces(self, scope: str, ids: Iterable[str]) -> dict[str, str]:
        """The trace id of every given span id that the legacy store has."""
        return dict(self._writer.execute(LEGACY_TRACES, (scope, json.dumps(list(ids)))))

    def get(self, table: StoreName, account: str, span_id: str) -> bytes | None:
        row = self._writer.execute(GET.format(table=table), (account, span_id)).fetchone()
        return row[0] if row else None

    def exists(self, table: StoreName, span_id: str) -> bool:
        """Whether any account has the span."""
        return bool(self._writer.execute(EXISTS.format(table=table), (span_id,)).fetchone())

    def writes_per_id(self, table: StoreName) -> dict[int, int]:
        """How many spans were written once, twice, ..."""
        return dict(self._reader.execute(WRITES_PER_ID.format(table=table)))

    def late_starts(self, table: StoreName) -> int:
        """STARTs that arrived after an END of their span."""
        return int(self._reader.execute(LATE_STARTS.format(table=table)).fetchone()[0])

    def arrivals(
        self, table: StoreName, span_id: str | None = None, trace_id: str | None = None
    ) -> list[dict[str, Any]]:
        """The spans in the order of their last write, with when and how often each was written."""
        cursor = self._reader.execute(ARRIVALS.format(table=table), (span_id, trace_id))
        names = [column[0] for column in cursor.description]
        rows = (dict(zip(names, row, strict=True)) for row in cursor)
        return [{**row, "document": decode(row["document"])} for row in rows]

    def interrupt(self) -> None:
        """End what is being read with sqlite3.OperationalError; from any thread."""
        self._reader.interrupt()

    def close(self) -> None:
        self._connections.close()

    def _prepare(self, database: str) -> None:
        self._writer.execute("PRAGMA page_size = 16384")  # few spans fit the usual 4096
        # Written through to the operating system on every commit, so that a killed process loses nothing.
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = NORMAL")
        if self._writer.execute("PRAGMA user_version").fetchone()[0] not in (0, SCHEMA_VERSION):
            raise ValueError(f"{database} was written by another version of this server")
        self._writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        for table, key in KEYS.items():
            self._writer.executescript(SCHEMA.format(table=table, key=key))

    def _upsert_sql(self, table: StoreName) -> str:
        keeps_completed = table == "traces" and self._settings.late_start == "completed_wins"
        kept = "end_us IS NOT NULL AND excluded.end_us IS NULL" if keeps_completed else "0"
        # What is set is written to every index that has it, changed or not: the key is left out.
        names = (name for name in Row._fields if name not in KEYS[table].split(", "))
        contents = (f"{name} = CASE WHEN {kept} THEN {name} ELSE excluded.{name} END" for name in names)
        values = ", ".join("?" * (len(Row._fields) + _WRITE_COLUMNS))
        return UPSERT.format(table=table, values=values, key=KEYS[table], contents=", ".join(contents))

    def _row(self, write: Write, now_us: int) -> Sequence[Any]:
        arrived = (now_us if write.starts else None, now_us if write.ends else None)
        return (*write.row, next(self._versions), write.starts, write.ends, write.late_starts, *arrived)

    def _forget_oldest(self, written: int) -> None:
        # Counting the rows of a table is not free: once per hundredth of the history is exact enough.
        self._writes_until_forgetting -= written
        if self._settings.max_spans is None or self._writes_until_forgetting > 0:
            return
        self._writes_until_forgetting = self._settings.max_spans // 100
        for table in KEYS:
            self._writer.execute(FORGET.format(table=table), (self._settings.max_spans,))
