"""The rows of a spool within one transaction. All SQL is here.

Of two ENDs of a span the one that ended later is the newer. It takes the row of the older, and whoever is done with
the older leaves that row alone. A row that is being sent is leased; the lease of a killed process runs out. A row that
was kept while the START of its span may still be applied has a lease that is nobody's.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from otel_sgp_exporter._record import END, Record, SpanKey

LEASE_SECONDS = 60.0
"""How long a claimed row is nobody else's. Whoever sends it must have given up before."""

_LEASE_US = int(LEASE_SECONDS * 1e6)
# Others read another clock, or this one before they waited for their turn: what they lease may end later than here.
_CLOCKS_APART_US = _LEASE_US

# kept_us is the wall clock in microseconds, made unique: a row's age and its place in the order. Vacuuming at each
# commit keeps the file as small as what it holds.
SCHEMA = """
PRAGMA auto_vacuum = FULL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS ends (
    kept_us INTEGER PRIMARY KEY, destination TEXT NOT NULL, trace_id TEXT NOT NULL, span_id TEXT NOT NULL,
    ended_at TEXT NOT NULL, lease TEXT, leased_until_us INTEGER NOT NULL DEFAULT 0, fragment BLOB NOT NULL,
    UNIQUE (destination, trace_id, span_id)
);
CREATE TABLE IF NOT EXISTS refused (
    refused_us INTEGER PRIMARY KEY, destination TEXT NOT NULL, trace_id TEXT NOT NULL, span_id TEXT NOT NULL,
    why TEXT NOT NULL, fragment BLOB NOT NULL
);
PRAGMA user_version = 1;
COMMIT;
"""

KEEP = """
INSERT INTO ends (kept_us, destination, trace_id, span_id, ended_at, leased_until_us, fragment)
VALUES (:kept_us, :destination, :trace_id, :span_id, :ended_at, :held_until_us, :fragment)
ON CONFLICT (destination, trace_id, span_id) DO UPDATE
SET kept_us = excluded.kept_us, ended_at = excluded.ended_at, fragment = excluded.fragment,
    leased_until_us = max(leased_until_us, excluded.leased_until_us)
WHERE excluded.ended_at >= ended_at
"""
FIND = "SELECT kept_us FROM ends WHERE destination = :destination AND trace_id = :trace_id AND span_id = :span_id"

# A lease that ends later than any can is from before the clock was set back. The plus keeps SQLite from sorting all
# rows of the destination: in the table they are in order.
CLAIMABLE = """
SELECT kept_us, trace_id, span_id, ended_at, fragment FROM ends
WHERE +destination = ? AND leased_until_us NOT BETWEEN ? AND ? ORDER BY kept_us LIMIT ?
"""
LEASE = "UPDATE ends SET lease = ?, leased_until_us = ? WHERE kept_us = ?"

# What may become of the row of a span that has come to an end. (No INSERT ... SELECT: SQLite would put the fragment
# into a temporary file of its own, elsewhere.)
FORGET = """
DELETE FROM ends WHERE kept_us = :kept_us AND ended_at <= :ended_at
AND (lease IS :lease OR leased_until_us NOT BETWEEN :leased_us AND :longest_leased_us)
"""
OVERTAKE = (
    "UPDATE ends SET ended_at = :ended_at, fragment = :fragment WHERE kept_us = :kept_us AND ended_at < :ended_at"
)
RELEASE = "UPDATE ends SET lease = NULL, leased_until_us = 0 WHERE kept_us = :kept_us AND lease = :lease"
REFUSE = """
INSERT INTO refused VALUES (max(:now_us, (SELECT coalesce(max(refused_us) + 1, 0) FROM refused)),
    :destination, :trace_id, :span_id, :why, :fragment)
"""

PENDING = "SELECT 1 FROM ends WHERE destination = ? LIMIT 1"
COUNTS = "SELECT destination, count(*) FROM ends GROUP BY destination"
OLDEST = "SELECT min(kept_us) FROM ends"
NEWEST = "SELECT coalesce(max(kept_us), 0) FROM ends"
DROP = "DELETE FROM ends WHERE kept_us = ?"
DROP_REFUSED = "DELETE FROM refused WHERE refused_us = (SELECT min(refused_us) FROM refused)"
EXPIRE = "DELETE FROM ends WHERE kept_us < ?"
EXPIRE_REFUSED = "DELETE FROM refused WHERE refused_us < ?"


class Claimed(Record):
    """A record that came out of a spool: which END its row held then, and the lease on it."""

    __slots__ = ("ended_at", "lease")
    ended_at: str
    lease: str


class Rows:
    """The rows, for the time of one transaction. `evicted` counts the ENDs that were here and were given up in it."""

    def __init__(self, connection: sqlite3.Connection, destination: str, now_us: int) -> None:
        self._connection = connection
        self._destination = destination
        self._now_us = now_us
        self.evicted = 0

    def keep(self, ends: Sequence[Record], held: Mapping[SpanKey, float], max_bytes: int) -> list[Record]:
        """Those that are here in the end: too large a batch drives out its own beginning."""
        first_us = max(self._now_us, self._value(NEWEST) + 1)
        rows = [
            {**self._row(end), "kept_us": first_us + number, "held_until_us": self._held_until_us(held.get(end.key))}
            for number, end in enumerate(ends)
        ]
        self._connection.executemany(KEEP, rows)
        self.shrink(max_bytes, first_us)
        oldest_us = self._value(OLDEST)
        return [
            end for end, row in zip(ends, rows, strict=True) if oldest_us is not None and row["kept_us"] >= oldest_us
        ]

    def claim(self, max_records: int, max_bytes: int) -> list[Record]:
        """The oldest that nobody else has."""
        claimed: list[Record] = []
        leases = []
        lease, size = uuid.uuid4().hex, 0
        oldest = self._connection.execute(CLAIMABLE, (self._destination, *self._leased_us(), max_records))
        for kept_us, trace_id, span_id, ended_at, fragment in oldest:
            size += len(fragment)
            if claimed and size > max_bytes:
                break
            claimed.append(_claimed((int(trace_id, 16), int(span_id, 16)), fragment, ended_at, lease))
            leases.append((lease, self._now_us + _LEASE_US, kept_us))
        self._connection.executemany(LEASE, leases)
        return claimed

    def update(self, records: Sequence[Record], *statements: str) -> None:
        """Apply the statements to the rows of these spans; mostly there is none."""
        for record in records:
            found = self._connection.execute(FIND, self._span(record)).fetchone()
            if found is not None:
                row = {**self._row(record), "kept_us": found[0]}
                for statement in statements:
                    self._connection.execute(statement, row)

    def refuse(self, records: Sequence[Record], why: str) -> None:
        """Put them into the other table."""
        self._connection.executemany(REFUSE, [{**self._row(record), "why": why} for record in records])
        self.update(records, FORGET, RELEASE)

    def expire(self, max_age_seconds: float) -> None:
        """Give up what has been here for longer."""
        oldest = (self._now_us - max_age_seconds * 1e6,)
        self.evicted += self._connection.execute(EXPIRE, oldest).rowcount
        self._connection.execute(EXPIRE_REFUSED, oldest)

    def shrink(self, max_bytes: int, first_new_us: float = float("inf")) -> None:
        """Give up the oldest until the file is small enough; from `first_new_us` on they had not been kept yet."""
        while self._used_bytes() > max_bytes:
            if self._connection.execute(DROP_REFUSED).rowcount:
                continue
            oldest_us = self._value(OLDEST)
            if oldest_us is None:
                return
            self._connection.execute(DROP, (oldest_us,))
            self.evicted += oldest_us < first_new_us

    def pending(self) -> bool:
        """Whether there is any."""
        return self._connection.execute(PENDING, (self._destination,)).fetchone() is not None

    def counts(self) -> Mapping[str, int]:
        """How many, by destination."""
        return dict(self._connection.execute(COUNTS).fetchall())

    def _row(self, record: Record) -> dict[str, Any]:
        fragment = record.fragment or b"{}"
        if isinstance(record, Claimed):
            ended_at, lease = record.ended_at, record.lease
        else:
            ended_at, lease = orjson.loads(fragment).get("end_timestamp") or "", None
        leased_us, longest_leased_us = self._leased_us()
        return {
            **self._span(record),
            "ended_at": ended_at,
            "fragment": fragment,
            "lease": lease,
            "leased_us": leased_us,
            "longest_leased_us": longest_leased_us,
            "now_us": self._now_us,
        }

    def _span(self, record: Record) -> dict[str, Any]:
        trace_id, span_id = record.key
        return {"destination": self._destination, "trace_id": f"{trace_id:032x}", "span_id": f"{span_id:016x}"}

    def _leased_us(self) -> tuple[int, int]:
        """When a lease that holds now can run out, from and to."""
        return self._now_us + 1, self._now_us + _LEASE_US + _CLOCKS_APART_US

    def _held_until_us(self, seconds: float | None) -> int:
        return 0 if seconds is None else self._now_us + int(min(seconds, LEASE_SECONDS) * 1e6)

    def _used_bytes(self) -> int:
        """What the file will measure after the commit."""
        used: int = self._value("PRAGMA page_count") - self._value("PRAGMA freelist_count")
        return used * int(self._value("PRAGMA page_size"))

    def _value(self, query: str) -> Any:
        return self._connection.execute(query).fetchone()[0]


def _claimed(key: SpanKey, fragment: bytes, ended_at: str, lease: str) -> Record:
    record = Claimed.of_fragment(END, key, fragment)
    assert isinstance(record, Claimed)
    record.ended_at, record.lease = ended_at, lease
    return record
