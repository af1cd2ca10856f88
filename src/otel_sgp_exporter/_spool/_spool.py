"""The spool: undelivered ENDs on disk, shared by any number of processes and threads."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urlsplit

from otel_sgp_exporter._record import END, START, Record, SpanKey
from otel_sgp_exporter._spool._file import SharedFile, one_operation
from otel_sgp_exporter._spool._rows import FORGET, OVERTAKE, RELEASE, SCHEMA, Rows

_FILE_NAME = "ends.sqlite3"
_MIB = 1024 * 1024
_DAY_SECONDS = 24 * 60 * 60.0

T = TypeVar("T")


class Spool:
    """The ENDs in a directory that go to one endpoint and account.

    Nothing in here raises: what cannot be done is not done, and said once. For senders and whoever closes, never for
    the application's threads: an operation takes milliseconds, and seconds when many processes are at it. STARTs are
    passed over everywhere.

    Args:
        directory: Made when something is first kept, for this user only.
        endpoint: Base URL of the SGP API.
        account_id: ENDs of other accounts and endpoints are not claimed.
        max_bytes: Size of the file. Over it, refused items go first, then the oldest ENDs.
        max_age_seconds: What was kept longer ago is given up.
        clock: Wall-clock seconds.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        endpoint: str,
        account_id: str,
        max_bytes: int = 256 * _MIB,
        max_age_seconds: float = 7 * _DAY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.destination = f"{_public(endpoint)} {account_id}"
        self.evicted = 0
        """ENDs that had been kept and were given up, because of `max_bytes` or `max_age_seconds`."""
        self._file = SharedFile(Path(directory).absolute() / _FILE_NAME, SCHEMA)
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._empty_version: object = None

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def keep(self, records: Sequence[Record], held: Mapping[SpanKey, float] = MappingProxyType({})) -> list[Record]:
        """Put encoded ENDs on disk; returns those that are there now, they or newer ones of their spans.

        Nobody may claim those that are `held` for as many seconds: until then, a START may land on them.
        """
        ends = [end for end in _encoded_ends(records) if end.phase is END]

        def keep(rows: Rows) -> list[Record]:
            rows.expire(self._max_age_seconds)
            return rows.keep(ends, held, self._max_bytes)

        if not ends:
            return []
        evicted = self.evicted
        kept = self._run("keep spans", keep, create=True) or []
        if kept and self.evicted == evicted:
            self._file.note("hold everything", None)
        return kept

    def claim(self, max_records: int, max_bytes: int) -> list[Record]:
        """The oldest ENDs, in order, leased for `LEASE_SECONDS`. One that is larger than `max_bytes` comes alone.

        Each has to go back through `forget`, `release` or `dead_letter`.
        """

        def claim(rows: Rows) -> list[Record]:
            rows.expire(self._max_age_seconds)
            return rows.claim(max_records, max_bytes)

        return (self._run("hand out spans", claim) if self.pending() else None) or []

    def overtake(self, records: Sequence[Record]) -> None:
        """These ENDs are about to be sent: they take the rows of older ones, so that none of those is sent after."""
        self._update("replace spans", records, OVERTAKE)

    def forget(self, records: Sequence[Record]) -> None:
        """These ENDs were delivered, claimed or not: what is here of their spans goes, unless it is newer.

        A row that somebody else is sending right now becomes the END given here, so that it is sent once more after.
        """
        self._update("forget spans", records, FORGET, OVERTAKE, RELEASE)

    def release(self, records: Sequence[Record]) -> None:
        """These were claimed and not delivered: anybody may claim them now."""
        self._update("release spans", records, RELEASE)

    def dead_letter(self, records: Sequence[Record], why: str) -> None:
        """The server refuses these: they are put into the table `refused`, for people to look at."""
        ends = _encoded_ends(records)

        def refuse(rows: Rows) -> None:
            rows.expire(self._max_age_seconds)
            rows.refuse(ends, why)
            rows.shrink(self._max_bytes)

        if ends:
            self._run("put spans aside", refuse, create=True)

    def pending(self) -> bool:
        """True when there is anything to send, claimed or not. Cheap while there is not: a few bytes are read."""
        version = self._file.version()
        if version is None or version == self._empty_version:
            return False
        found = self._run("be read", Rows.pending)
        if found is False:
            self._empty_version = version
        return bool(found)

    @property
    def trouble(self) -> str:
        """What cannot be done at the moment, and why; empty when nothing went wrong."""
        return self._file.trouble

    def counts(self) -> Mapping[str, int]:
        """How many ENDs are here, by destination."""
        return self._run("be read", Rows.counts) or {}

    def _update(self, what: str, records: Sequence[Record], *statements: str) -> None:
        ends = _encoded_ends(records)
        if ends and self.pending():
            self._run(what, lambda rows: rows.update(ends, *statements))

    def _run(self, what: str, operation: Callable[[Rows], T], *, create: bool = False) -> T | None:
        def transaction(connection: sqlite3.Connection) -> tuple[T, int]:
            rows = Rows(connection, self.destination, int(self._clock() * 1e6))
            return operation(rows), rows.evicted

        result, evicted = self._file.run(what, transaction, create=create) or (None, 0)
        if evicted:
            self._file.note("hold everything", "its oldest spans are given up")
            with one_operation:
                self.evicted += evicted
        return result

    def __repr__(self) -> str:
        return f"<Spool {self.path} for {self.destination}>"


def _encoded_ends(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.phase is not START and record.fragment is not None]


def _public(endpoint: str) -> str:
    """Without what may be secret in a URL: a user's name and password, a query."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
