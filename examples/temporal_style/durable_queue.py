"""Tasks on disk, between processes: each is done at least once, whoever dies."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS task (
    id INTEGER PRIMARY KEY, queue TEXT, payload TEXT, leased_until REAL DEFAULT 0, is_done INTEGER DEFAULT 0
)
"""
_CLAIM = """
UPDATE task SET leased_until = :now + :lease WHERE id = (
    SELECT id FROM task WHERE queue = :queue AND NOT is_done AND leased_until < :now ORDER BY id LIMIT 1
) RETURNING id, payload
"""


class Task(NamedTuple):
    """What a worker is to do."""

    id: int
    payload: dict[str, Any]


class DurableQueue:
    """Any number of processes may share the file."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(_SCHEMA)

    def put(self, queue: str, payload: dict[str, Any], instead_of: Task | None = None) -> None:
        """Add a task, and in the same transaction finish the one that led to it."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("INSERT INTO task (queue, payload) VALUES (?, ?)", (queue, json.dumps(payload)))
            if instead_of is not None:
                self.done(instead_of)

    def claim(self, queue: str, lease_seconds: float) -> Task | None:
        """The next task, ours for as long; then it is anybody's again: its worker must have died."""
        values = {"queue": queue, "now": time.time(), "lease": lease_seconds}
        rows = self._database.execute(_CLAIM, values).fetchall()
        return Task(rows[0][0], json.loads(rows[0][1])) if rows else None

    def done(self, task: Task) -> None:
        """Nobody will be given it again."""
        self._database.execute("UPDATE task SET is_done = 1 WHERE id = ?", (task.id,))

    def left(self) -> int:
        """Tasks that are not done."""
        count: int = self._database.execute("SELECT count(*) FROM task WHERE NOT is_done").fetchone()[0]
        return count
