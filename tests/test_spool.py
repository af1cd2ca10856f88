"""The spool: real files, real processes, real kills."""

import os
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from otel_sgp_exporter._record import Phase, Record, snapshot
from otel_sgp_exporter._spool import LEASE_SECONDS, Spool, _file
from otel_sgp_exporter._spool._file import SharedFile
from otel_sgp_exporter._spool._rows import KEEP, OVERTAKE, REFUSE
from support import TRACE_ID, ended_span, nobody

ENDPOINT, ACCOUNT = "https://sgp.example", "account"
MIB = 1024 * 1024


class Clock:
    """Wall-clock time that only moves when told."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def end(span_id: int, second: int = 0, text: str = "") -> Record:
    """The encoded END of a span that ended at `second`."""
    item = {"id": f"{span_id:016x}", "end_timestamp": f"2026-01-01T00:00:{second:02}.000000+00:00", "input": text}
    return Record.of_fragment(Phase.END, (TRACE_ID, span_id), orjson.dumps(item))


def spans_of(records: list[Record]) -> list[int]:
    return [record.key[1] for record in records]


def fragments(records: list[Record]) -> list[bytes | None]:
    return [record.fragment for record in records]


def read(spool: Spool, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(spool.path)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_spool(tmp_path: Path, clock: Clock) -> Callable[..., Spool]:
    """Opens the same spool, as another process would."""

    def make(**options: object) -> Spool:
        return Spool(tmp_path / "spool", **{"endpoint": ENDPOINT, "account_id": ACCOUNT, "clock": clock, **options})

    return make


@pytest.fixture
def spool(open_spool: Callable[..., Spool]) -> Spool:
    return open_spool()


# Kept, claimed, forgotten.


def test_what_is_kept_is_claimed_as_it_was_oldest_first(spool: Spool, open_spool: Callable[..., Spool]) -> None:
    """Another process gets the same bytes, in the order in which they were kept, as encoded ENDs."""
    first, second = [end(3), end(1)], [end(2)]
    assert spool.keep(first) == first
    assert spool.keep(second) == second
    claimed = open_spool().claim(10, MIB)
    assert fragments([*first, *second]) == fragments(claimed)
    assert {(Phase.END, len(record.fragment or b"")) for record in claimed} == {
        (record.phase, record.charged_bytes) for record in claimed
    }


def test_only_encoded_ends_are_kept(spool: Spool) -> None:
    """A START is worthless without its END, and what is not encoded has nothing to keep."""
    unencoded = snapshot(Phase.END, ended_span(1))
    start = Record.of_fragment(Phase.START, (TRACE_ID, 2), b"{}")
    again = Record.of_fragment(Phase.REASSERT, (TRACE_ID, 3), b"{}")
    assert unencoded is not None
    assert spool.keep([unencoded, start, again]) == []
    spool.dead_letter([unencoded, start], "HTTP 400")
    assert not spool.path.exists()


def test_a_start_says_nothing_about_an_end(spool: Spool) -> None:
    """Whoever delivered a batch may say so of all of it."""
    kept = end(1)
    spool.keep([kept])
    starts = [Record.of_fragment(Phase.START, (TRACE_ID, 1), kept.fragment or b"")]
    spool.overtake(starts)
    spool.forget(starts)
    assert fragments(spool.claim(9, MIB)) == [kept.fragment]


def test_looking_makes_nothing(spool: Spool) -> None:
    """The directory appears with the first span that is kept, not before."""
    spool.forget([end(1)])
    spool.overtake([end(1)])
    assert (spool.pending(), spool.claim(1, 1), dict(spool.counts())) == (False, [], {})
    assert not spool.path.parent.exists()


def test_a_claim_is_bounded_in_records_and_bytes(spool: Spool) -> None:
    """At most so many records, at most so many bytes, but always one."""
    spool.keep([end(number, text="x" * 1000) for number in range(6)])
    assert spans_of(spool.claim(2, MIB)) == [0, 1]
    assert spans_of(spool.claim(9, 2500)) == [2, 3]
    assert spans_of(spool.claim(9, 10)) == [4]


def test_what_is_claimed_is_nobody_elses_until_the_lease_is_over(
    spool: Spool, open_spool: Callable[..., Spool], clock: Clock
) -> None:
    """A process that was killed keeps its spans for as long as a lease, and no longer."""
    spool.keep([end(1)])
    assert spans_of(spool.claim(1, MIB)) == [1]
    clock.now += LEASE_SECONDS - 1
    assert open_spool().claim(1, MIB) == []
    clock.now += 2
    assert spans_of(open_spool().claim(1, MIB)) == [1]


def test_what_is_held_is_nobody_s_until_then(spool: Spool, open_spool: Callable[..., Spool], clock: Clock) -> None:
    """A START of its span may land on it. No longer than a lease, and not when the span is delivered meanwhile."""
    spool.keep([end(number) for number in (1, 2, 3)], {(TRACE_ID, 1): 10.0, (TRACE_ID, 2): 1000.0, (TRACE_ID, 3): 10.0})
    spool.keep([end(1, second=1)])
    assert open_spool().claim(9, MIB) == []
    spool.forget([end(3)])
    clock.now += 11
    assert fragments(open_spool().claim(9, MIB)) == [end(1, second=1).fragment]
    clock.now += LEASE_SECONDS
    assert sorted(spans_of(open_spool().claim(9, MIB))) == [1, 2]


def test_a_clock_set_back_does_not_prolong_a_lease(spool: Spool, clock: Clock) -> None:
    """A lease that ends later than any lease can is void."""
    spool.keep([end(1)])
    spool.claim(1, MIB)
    clock.now -= 3600
    assert spans_of(spool.claim(1, MIB)) == [1]


def test_a_lease_holds_for_who_read_the_clock_a_little_earlier(open_spool: Callable[..., Spool]) -> None:
    """A process that waits for its turn comes with the time from before; a clock of another machine may be behind."""
    behind = Clock()
    behind.now -= 5
    first, second = open_spool(), open_spool(clock=behind)
    first.keep([end(1)])
    claimed = first.claim(1, MIB)
    assert second.claim(1, MIB) == []
    second.forget([end(1, second=1)])
    first.forget(claimed)
    assert fragments(first.claim(1, MIB)) == [end(1, second=1).fragment]


def test_order_survives_a_clock_that_is_set_back(spool: Spool, clock: Clock) -> None:
    """What is kept later comes later, whatever the clock says."""
    spool.keep([end(1), end(2)])
    clock.now -= 3600
    spool.keep([end(3)])
    assert spans_of(spool.claim(9, MIB)) == [1, 2, 3]


def test_released_spans_can_be_claimed_at_once(spool: Spool, open_spool: Callable[..., Spool]) -> None:
    """Whoever could not deliver gives its spans back, in their old place."""
    spool.keep([end(1), end(2)])
    spool.release(spool.claim(1, MIB))
    assert spans_of(open_spool().claim(9, MIB)) == [1, 2]


def test_a_lease_that_ran_out_cannot_be_given_back(
    spool: Spool, open_spool: Callable[..., Spool], clock: Clock
) -> None:
    """Who comes back late does not take the spans from the one who has them now."""
    spool.keep([end(1)])
    late = spool.claim(1, MIB)
    clock.now += LEASE_SECONDS + 1
    open_spool().claim(1, MIB)
    spool.release(late)
    spool.forget(late)
    assert spool.claim(1, MIB) == []
    assert spool.pending()


def test_delivered_spans_are_gone(spool: Spool) -> None:
    """Claimed or not: nothing delivered is sent again."""
    spool.keep([end(1), end(2), end(3)])
    spool.forget(spool.claim(1, MIB))
    spool.forget([end(2)])
    assert spans_of(spool.claim(9, MIB)) == [3]


def test_emptiness_is_noticed_and_so_is_its_end(spool: Spool, open_spool: Callable[..., Spool]) -> None:
    """What `pending` remembers holds until any process commits something."""
    spool.keep([end(1)])
    spool.forget([end(1)])
    assert (spool.pending(), spool.pending()) == (False, False)
    open_spool().keep([end(2)])
    assert spool.pending()


def test_another_file_in_the_same_place_is_looked_into(spool: Spool, open_spool: Callable[..., Spool]) -> None:
    """Also when as many transactions made it as there were in the one that was empty."""
    spool.keep([end(1)])
    spool.forget([end(1)])
    assert not spool.pending()
    before = spool.path.read_bytes()[24:28]
    spool.path.unlink()
    open_spool().keep([end(1)])
    open_spool().keep([end(2)])
    assert spool.path.read_bytes()[24:28] == before
    assert spool.pending()


@pytest.mark.parametrize("other", [{"account_id": "else"}, {"endpoint": "https://else.example"}])
def test_spans_go_to_the_account_and_endpoint_they_were_meant_for(
    spool: Spool, open_spool: Callable[..., Spool], other: dict[str, str]
) -> None:
    """Several exporters may share a directory; the same span may wait for two of them."""
    stranger = open_spool(**other)
    stranger.keep([end(1)])
    assert (spool.claim(9, MIB), spool.pending()) == ([], False)
    spool.forget([end(1)])
    assert dict(spool.counts()) == {stranger.destination: 1}
    spool.keep([end(1)])
    assert dict(spool.counts()) == {stranger.destination: 1, spool.destination: 1}
    assert len(spool.claim(9, MIB)) == 1


def test_nothing_secret_is_on_disk(open_spool: Callable[..., Spool]) -> None:
    """The spool is never told the API key, and leaves out what a URL can hide."""
    spool = open_spool(endpoint="https://user:password@sgp.example:8443/base?token=secret")
    spool.keep([end(1)])
    assert spool.destination == "https://sgp.example:8443/base account"
    content = spool.path.read_bytes()
    assert b"sgp.example" in content
    assert not any(secret in content for secret in (b"password", b"secret"))


# Newer and older ENDs of one span.


def test_a_newer_end_takes_the_place_of_an_older_one(spool: Spool) -> None:
    """A span has one row: the END that ended last."""
    older, newer = end(1, second=1), end(1, second=2)
    spool.keep([older])
    assert spool.keep([newer]) == [newer]
    assert fragments(spool.claim(9, MIB)) == [newer.fragment]


def test_an_older_end_never_takes_the_place_of_a_newer_one(spool: Spool) -> None:
    """In whatever order they come. The older one counts as kept: its span is safe."""
    older, newer = end(1, second=1), end(1, second=2)
    spool.keep([newer])
    assert spool.keep([older]) == [older]
    spool.overtake([older])
    assert fragments(spool.claim(9, MIB)) == [newer.fragment]


def test_who_delivered_an_older_end_leaves_a_newer_one(spool: Spool) -> None:
    """It was kept while the older one was on its way, and can be claimed as soon as that has arrived."""
    older, newer = end(1, second=1), end(1, second=2)
    spool.keep([older])
    claimed = spool.claim(1, MIB)
    spool.keep([newer])
    assert spool.claim(1, MIB) == []
    spool.forget(claimed)
    assert fragments(spool.claim(1, MIB)) == [newer.fragment]


def test_an_older_end_is_forgotten_once_a_newer_one_was_delivered(spool: Spool) -> None:
    """The newer one was never here: the older one must not be sent after it."""
    spool.keep([end(1, second=1)])
    spool.forget([end(1, second=2)])
    assert not spool.pending()


def test_an_end_about_to_be_sent_replaces_an_older_one(spool: Spool) -> None:
    """So a process killed between sending and forgetting leaves nothing older behind."""
    newer = end(1, second=2)
    spool.keep([end(1, second=1)])
    spool.overtake([newer, end(2)])
    assert fragments(spool.claim(9, MIB)) == [newer.fragment]


def test_an_end_that_met_an_older_one_on_its_way_is_sent_once_more(
    spool: Spool, open_spool: Callable[..., Spool]
) -> None:
    """Two processes send at once and nobody knows which request lands last; afterwards the newer END is sent again."""
    newer = end(1, second=2)
    spool.keep([end(1, second=1)])
    sending = open_spool()
    claimed = sending.claim(1, MIB)
    spool.forget([newer])
    assert spool.claim(1, MIB) == []
    sending.forget(claimed)
    assert fragments(spool.claim(1, MIB)) == [newer.fragment]


class TwoEndsOfASpan(RuleBasedStateMachine):
    """Senders and replayers in any interleaving, killed at any moment, against a server where the last write wins.

    A span's next END is made when the one before was delivered, kept, or lost with its process: lanes see to that.
    A replayer gives up before its lease is over.
    """

    spans = st.integers(1, 2)

    @initialize()
    def begin(self) -> None:
        self.directory = TemporaryDirectory()
        self.clock = Clock()
        self.spool = Spool(self.directory.name, endpoint=ENDPOINT, account_id=ACCOUNT, clock=self.clock)
        self.server: dict[int, bytes] = {}
        self.newest: dict[int, bytes] = {}  # of what was kept or has landed
        self.made: dict[int, int] = {}
        self.direct: dict[int, Record] = {}
        self.claimed: list[Record] = []

    @rule(span=spans)
    def send(self, span: int) -> None:
        if span not in self.direct:
            self.made[span] = self.made.get(span, 0) + 1
            self.direct[span] = end(span, self.made[span])
            self.spool.overtake([self.direct[span]])

    @rule(span=spans, kept=st.booleans())
    def give_up(self, span: int, kept: bool) -> None:
        record = self.direct.pop(span, None)
        if record is not None and kept:
            assert self.spool.keep([record]) == [record]
            self.exists(record)

    @rule(span=spans, killed=st.booleans())
    def deliver(self, span: int, killed: bool) -> None:
        record = self.direct.pop(span, None)
        if record is not None:
            self.land(record)
            if not killed:
                self.spool.forget([record])

    @rule()
    def claim(self) -> None:
        self.claimed += self.spool.claim(1, MIB)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), killed=st.booleans())
    def replay(self, data: st.DataObject, killed: bool) -> None:
        record = self.claimed.pop(data.draw(st.integers(0, len(self.claimed) - 1)))
        self.land(record)
        if not killed:
            self.spool.forget([record])

    @precondition(lambda self: self.claimed)
    @rule(killed=st.booleans())
    def abandon(self, killed: bool) -> None:
        record = self.claimed.pop()
        if not killed:
            self.spool.release([record])

    @rule()
    def leases_run_out(self) -> None:
        self.claimed.clear()
        self.clock.now += LEASE_SECONDS + 1

    def land(self, record: Record) -> None:
        self.server[record.key[1]] = record.fragment or b""
        self.exists(record)

    def exists(self, record: Record) -> None:
        span = record.key[1]
        self.newest[span] = max(self.newest.get(span, b""), record.fragment or b"")

    def teardown(self) -> None:
        self.leases_run_out()
        while records := self.spool.claim(9, MIB):
            for record in records:
                self.land(record)
            self.spool.forget(records)
        assert self.server == self.newest
        assert not self.spool.pending()
        self.directory.cleanup()


TestTwoEndsOfASpan = TwoEndsOfASpan.TestCase
TestTwoEndsOfASpan.settings = settings(
    max_examples=60, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


# Bounds.


def test_the_file_never_grows_beyond_its_bound_and_the_oldest_go(open_spool: Callable[..., Spool]) -> None:
    """Each END that was kept is here, or counted as evicted."""
    spool = open_spool(max_bytes=256 * 1024)
    for batch in range(20):
        ends = [end(batch * 10 + number, text="x" * 3000) for number in range(10)]
        assert spool.keep(ends) == ends
        assert spool.path.stat().st_size <= 256 * 1024
    left = spans_of(spool.claim(1000, MIB))
    assert left == list(range(200 - len(left), 200))
    assert spool.evicted == 200 - len(left) > 0


def test_a_batch_larger_than_the_bound_keeps_what_fits(open_spool: Callable[..., Spool]) -> None:
    """What was never kept is not evicted either: the caller hears that it is not kept."""
    spool = open_spool(max_bytes=64 * 1024)
    kept = spool.keep([end(number, text="x" * 3000) for number in range(40)])
    assert spans_of(kept) == spans_of(spool.claim(100, MIB)) == list(range(40 - len(kept), 40))
    assert (0 < len(kept) < 40, spool.evicted) == (True, 0)


def test_a_full_spool_is_said_once_until_there_is_room_again(
    open_spool: Callable[..., Spool], caplog: pytest.LogCaptureFixture
) -> None:
    """One line when it begins, one when it is over."""
    spool = open_spool(max_bytes=128 * 1024)
    for number in range(100):
        spool.keep([end(number, text="x" * 3000)])
    spool.forget(spool.claim(1000, MIB))
    spool.keep([end(1)])
    assert [record.getMessage() for record in caplog.records] == [
        f"The spool {spool.path} cannot hold everything: its oldest spans are given up",
        f"The spool {spool.path} can hold everything again",
    ]


def test_what_is_too_old_is_given_up_said_and_counted(
    open_spool: Callable[..., Spool], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """By whoever comes next, to keep or to claim."""
    spool = open_spool(max_age_seconds=100)
    spool.keep([end(1)])
    clock.now += 60
    spool.keep([end(2)])
    clock.now += 60
    assert (spans_of(spool.claim(9, MIB)), spool.evicted) == ([2], 1)
    assert caplog.messages == [f"The spool {spool.path} cannot hold everything: its oldest spans are given up"]
    clock.now += 60
    spool.keep([end(3)])
    assert (dict(spool.counts()), spool.evicted) == ({spool.destination: 1}, 2)


def test_a_file_that_was_large_is_small_when_it_is_empty(spool: Spool) -> None:
    """An outage leaves no gigabytes behind."""
    spool.keep([end(number, text="x" * 5000) for number in range(200)])
    assert spool.path.stat().st_size > MIB
    spool.forget(spool.claim(1000, 10 * MIB))
    assert spool.path.stat().st_size < 64 * 1024


# What the server refuses.


def test_refused_spans_are_put_aside_with_the_reason(spool: Spool) -> None:
    """They are there to be looked at, and never claimed again."""
    spool.keep([end(1), end(2)])
    spool.dead_letter(spool.claim(1, MIB), "HTTP 422 no such parent")
    assert spans_of(spool.claim(9, MIB)) == [2]
    query = "SELECT trace_id, span_id, why, fragment FROM refused"
    assert read(spool, query) == [(f"{TRACE_ID:032x}", f"{1:016x}", "HTTP 422 no such parent", end(1).fragment)]


def test_refusing_an_older_end_leaves_a_newer_one(spool: Spool) -> None:
    """The newer one may well be accepted."""
    newer = end(1, second=2)
    spool.keep([end(1, second=1)])
    claimed = spool.claim(1, MIB)
    spool.keep([newer])
    spool.dead_letter(claimed, "HTTP 400")
    assert fragments(spool.claim(1, MIB)) == [newer.fragment]


def test_refused_spans_make_room_first(open_spool: Callable[..., Spool], clock: Clock) -> None:
    """They never drive out a span that can still be delivered, and do not live longer than one."""
    spool = open_spool(max_bytes=128 * 1024, max_age_seconds=100)
    spool.keep([end(1, text="x" * 50_000)])
    for number in range(2, 10):
        spool.dead_letter([end(number, text="x" * 50_000)], "HTTP 400")
    assert spool.path.stat().st_size <= 128 * 1024
    assert read(spool, "SELECT count(*) FROM refused") == [(1,)]
    assert (spans_of(spool.claim(9, MIB)), spool.evicted) == ([1], 0)
    clock.now += 101
    spool.keep([end(1)])
    assert read(spool, "SELECT count(*) FROM refused") == [(0,)]


@pytest.mark.parametrize("statement", [KEEP, OVERTAKE, REFUSE])
def test_no_fragment_goes_through_a_temporary_file(spool: Spool, statement: str) -> None:
    """SQLite would write it to a directory of its own choice, and fail where it may write to none."""
    spool.keep([end(1)])
    program = read(spool, re.sub(r":\w+", "1", f"EXPLAIN {statement}"))
    steps = {step for _, step, *_ in program}
    assert "Insert" in steps
    assert not {step for step in steps if "Ephemeral" in str(step)}


# Permissions and failures.


@pytest.fixture
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_no_umask")
def test_only_this_user_can_read_the_spool(spool: Spool) -> None:
    """Directory 0700, file 0600, and so the journal that is there while something is written."""
    spool.keep([end(1)])
    with closing(sqlite3.connect(spool.path, isolation_level=None)) as connection:
        connection.executescript("BEGIN IMMEDIATE; DELETE FROM ends;")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in spool.path.parent.iterdir()}
    assert modes == {"ends.sqlite3": 0o600, "ends.sqlite3-journal": 0o600, "ends.sqlite3.lock": 0o600}
    assert stat.S_IMODE(spool.path.parent.stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_made_is_said_once(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is raised and nothing is kept until the obstacle is gone."""
    spool.path.parent.touch()
    assert (spool.keep([end(1)]), spool.keep([end(2)])) == ([], [])
    spool.path.parent.unlink()
    assert spans_of(spool.keep([end(3)])) == [3]
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith(f"The spool {spool.path} cannot keep spans: ")
    assert second == f"The spool {spool.path} can keep spans again"


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX users")
def test_a_read_only_directory_keeps_nothing(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    """The caller hears that nothing was kept, and counts it."""
    spool.path.parent.mkdir(mode=0o500)
    with nobody():
        assert spool.keep([end(1)]) == []
    assert "Permission denied" in caplog.text


def test_a_locked_file_keeps_nothing_and_loses_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the lock for seconds is waited for only so long; nobody is told that a span is gone."""
    monkeypatch.setattr(_file, "_BUSY_SECONDS", 0.1)
    monkeypatch.setattr(_file, "_LOCKED_OUT_SECONDS", 0.0)
    spool.keep([end(1)])
    with closing(sqlite3.connect(spool.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert (spool.keep([end(2)]), spool.claim(1, MIB), spool.pending()) == ([], [], False)
        spool.forget([end(1)])
    assert spans_of(spool.claim(9, MIB)) == [1]


def test_a_lock_that_is_not_released_is_waited_for_once(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else senders would do nothing else, with a backend in good health. What would be lost is tried all the same."""
    monkeypatch.setattr(_file, "_BUSY_SECONDS", 0.1)
    monkeypatch.setattr(_file, "_LOCKED_OUT_SECONDS", 60.0)
    tried: list[object] = []
    transact = SharedFile._transact
    monkeypatch.setattr(SharedFile, "_transact", lambda *arguments: tried.append(arguments) or transact(*arguments))
    spool.keep([end(1)])
    with closing(sqlite3.connect(spool.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert spool.claim(1, MIB) == []
        assert len(tried) > 1
        tried.clear()
        spool.overtake([end(1)])
        spool.forget([end(1)])
        assert spool.claim(1, MIB) == []
        assert tried == []
        assert spool.keep([end(2)]) == []
        assert tried
    assert spans_of(spool.keep([end(3)])) == [3]
    assert spans_of(spool.claim(9, MIB)) == [1, 3]


def test_a_lock_that_is_soon_released_costs_only_a_pause(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many processes that give up at the same time take their turns."""
    spool.keep([end(1)])
    with closing(sqlite3.connect(spool.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(_file.random, "uniform", lambda low, high: other.execute("COMMIT") and 0)
        assert spans_of(spool.keep([end(2)])) == [2]


@pytest.mark.parametrize("damaged_from", [0, 2 * 4096])
def test_a_corrupt_file_is_moved_aside_and_begun_anew(
    spool: Spool, caplog: pytest.LogCaptureFixture, damaged_from: int
) -> None:
    """It is left for people to look at; the spans at hand are kept in a new one."""
    spool.keep([end(number, text="x" * 3000) for number in range(50)])
    content = bytearray(spool.path.read_bytes())
    content[damaged_from:] = b"?" * (len(content) - damaged_from)
    spool.path.write_bytes(content)
    assert spans_of(spool.keep([end(number, text="x" * 3000) for number in range(100, 150)])) == list(range(100, 150))
    assert spool.path.with_name("ends.sqlite3.corrupt-1").read_bytes() == content
    assert sorted(path.name for path in spool.path.parent.iterdir()) == [
        "ends.sqlite3",
        "ends.sqlite3.corrupt-1",
        "ends.sqlite3.lock",
    ]
    assert ["is corrupt" in record.getMessage() for record in caplog.records] == [True]


def test_corrupt_files_do_not_pile_up(spool: Spool) -> None:
    """A broken disk does not fill itself with our files."""
    for _ in range(12):
        spool.path.parent.mkdir(exist_ok=True)
        spool.path.write_bytes(b"?" * 5000)
        assert spans_of(spool.keep([end(1)])) == [1]
    assert len(list(spool.path.parent.glob("*.corrupt-*"))) == 9


def test_a_deleted_file_is_made_again(spool: Spool) -> None:
    """Whoever tidies up temporary files takes what is there, but not what comes."""
    spool.keep([end(1)])
    shutil.rmtree(spool.path.parent)
    assert (spool.pending(), spool.claim(1, 1)) == (False, [])
    assert spans_of(spool.keep([end(2)])) == [2]
    assert spans_of(spool.claim(9, MIB)) == [2]


# Threads and processes.


def test_threads_keep_and_claim_at_once(spool: Spool) -> None:
    """Eight senders, one file: nothing is lost and nothing is handed out twice."""

    def keep_and_claim(number: int) -> list[int]:
        claimed: list[int] = []
        for batch in range(4):
            ends = [end(number * 100 + batch * 10 + each) for each in range(10)]
            assert spool.keep(ends) == ends
            claimed += spans_of(spool.claim(7, MIB))
        return claimed

    with ThreadPoolExecutor(8) as pool:
        claimed = [span for spans in pool.map(keep_and_claim, range(8)) for span in spans]
    claimed += spans_of(spool.claim(1000, MIB))
    assert sorted(claimed) == sorted(number * 100 + each for number in range(8) for each in range(40))


PREAMBLE = """
import itertools, os, resource, signal, sys, threading
from test_spool import *
spool = Spool(sys.argv[1], endpoint=ENDPOINT, account_id=ACCOUNT)
"""


class Processes:
    """Interpreters that run a script on a spool; none outlives its test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[subprocess.Popen[str]] = []

    def start(self, script: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(script), str(self.directory)]
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        environment = os.environ | {"PYTHONPATH": path}
        pipe = subprocess.PIPE
        self.started.append(subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return self.started[-1]

    def run(self, script: str) -> str:
        """What it prints, once it has ended well."""
        process = self.start(script)
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
        return output


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    running = Processes(tmp_path)
    yield running
    for process in running.started:
        process.kill()
        process.communicate()


def test_processes_that_find_a_corrupt_file_at_once_keep_everything(tmp_path: Path, processes: Processes) -> None:
    """None of them moves the new file of another aside, or takes its journal for that of the corrupt one."""
    script = """
        for number in map(int, sys.stdin):
            spool = Spool(f"{sys.argv[1]}/{number}", endpoint=ENDPOINT, account_id=ACCOUNT)
            print(*spans_of(spool.keep([end(os.getpid())])) or [spool.trouble], flush=True)
        """
    workers = [processes.start(script) for _ in range(3)]
    for number in range(100):
        spool = Spool(tmp_path / str(number), endpoint=ENDPOINT, account_id=ACCOUNT)
        spool.path.parent.mkdir()
        spool.path.write_bytes(b"?" * 5000)
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{number}\n")
            worker.stdin.flush()
        assert [line_of(worker) for worker in workers] == [f"{worker.pid}\n" for worker in workers]
        assert sorted(spans_of(spool.claim(9, MIB))) == sorted(worker.pid for worker in workers)
        assert [path.read_bytes() for path in spool.path.parent.glob("*.corrupt-*")] == [b"?" * 5000]


def test_nobody_uses_a_file_that_another_process_is_about_to_move_aside(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written to it would not be in the new one."""
    transact = SharedFile._transact_in_connection
    writing = "print('now', flush=True); print(*spans_of(spool.keep([end(2)])))"

    def be_corrupt(*arguments: Any) -> None:
        monkeypatch.setattr(SharedFile, "_transact_in_connection", transact)
        assert line_of(processes.start(writing)) == "now\n"
        threading.Event().wait(0.5)  # without a lock, it would have written by now
        raise sqlite3.DatabaseError("database disk image is malformed")

    spool = Spool(tmp_path, endpoint=ENDPOINT, account_id=ACCOUNT)
    assert spans_of(spool.keep([end(1)])) == [1]
    monkeypatch.setattr(SharedFile, "_transact_in_connection", be_corrupt)
    assert spans_of(spool.keep([end(3)])) == [3]
    assert processes.started[0].communicate(timeout=30)[0] == "2\n"
    assert sorted(spans_of(spool.claim(9, MIB))) == [2, 3]


def test_a_child_forked_in_the_middle_of_a_transaction_locks_nobody_out(tmp_path: Path) -> None:
    """By a signal handler, or by C code that knows none of our hooks: the lock is the child's, too, while it lives."""
    children: list[int] = []

    def fork(connection: sqlite3.Connection) -> None:
        children.append(os.fork())
        if not children[0]:
            signal.pause()

    SharedFile(tmp_path / "file", "").run("be used", fork, create=True)
    try:
        other = SharedFile(tmp_path / "file", "")
        assert (other.run("be used", lambda connection: "used"), other.trouble) == ("used", "")
    finally:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)


def test_where_no_lock_can_be_had_a_file_is_used_without(spool: Spool) -> None:
    """SQLite has its own."""
    spool.path.with_name("ends.sqlite3.lock").mkdir(parents=True)
    assert (spans_of(spool.keep([end(1)])), spans_of(spool.claim(9, MIB))) == ([1], [1])


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("kill_after", [1, 6])
def test_kill_in_the_middle_of_writing_loses_nothing_that_was_kept(
    tmp_path: Path, processes: Processes, kill_after: int
) -> None:
    """What `keep` has returned is there, whole, and the file can be written again."""
    writer = processes.start(
        """
        for batch in range(1000):
            kept = spool.keep([end(batch * 50 + number, text="x" * 20_000) for number in range(50)])
            print(*spans_of(kept), flush=True)
        """,
    )
    reported = [line_of(writer) for _ in range(kill_after)]
    threading.Event().wait(random.uniform(0, 0.01))  # anywhere in the next transaction
    writer.kill()
    reported += writer.communicate()[0].splitlines(keepends=True)
    kept = {int(span) for line in reported if line.endswith("\n") for span in line.split()}
    spool = Spool(tmp_path, endpoint=ENDPOINT, account_id=ACCOUNT)
    assert spans_of(spool.keep([end(10**6)])) == [10**6]
    there = spans_of(spool.claim(10**6, 1024 * MIB))
    assert kept <= set(there)
    assert there == [*range(len(there) - 1), 10**6]
    assert len(there) % 50 == 1
    assert read(spool, "PRAGMA integrity_check") == [("ok",)]


def test_kill_with_a_transaction_half_on_disk_loses_nothing(tmp_path: Path, processes: Processes) -> None:
    """The journal is still there: whoever opens the file next, even to read, rolls it back."""
    spool = Spool(tmp_path, endpoint=ENDPOINT, account_id=ACCOUNT)
    ends = [end(number, text="x" * 5000) for number in range(50)]
    spool.keep(ends)
    process = processes.start(
        """
        connection = sqlite3.connect(spool.path, isolation_level=None)
        connection.executescript("PRAGMA cache_size = 1; BEGIN IMMEDIATE; DELETE FROM ends WHERE kept_us % 2;")
        print("half", flush=True)
        signal.pause()
        """,
    )
    assert line_of(process) == "half\n"
    process.kill()
    process.communicate()
    assert spool.path.with_name("ends.sqlite3-journal").stat().st_size > 0
    assert dict(spool.counts()) == {spool.destination: 50}
    assert fragments(spool.claim(100, MIB)) == fragments(ends)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forks_in_the_middle_of_writing_leave_a_file_that_all_can_use(processes: Processes) -> None:
    """No connection is open during a fork, so no child believes that it holds its parent's locks."""
    processes.run(
        """
        import warnings
        warnings.simplefilter("ignore")  # Python warns of forks with threads
        forked = threading.Event()
        def keep_on():
            for number in itertools.count():
                assert spool.keep([end(number)])
                if forked.is_set():
                    break
        writer = threading.Thread(target=keep_on, daemon=True)
        writer.start()
        children = []
        for number in range(20):
            child = os.fork()
            if child == 0:
                os._exit(0 if spool.keep([end(10**7 + number)]) else 1)
            children.append(child)
        forked.set()
        writer.join()
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 20
        spans = spans_of(spool.claim(10**6, 1024 * MIB))
        assert sorted(spans)[-20:] == [10**7 + number for number in range(20)]
        assert sorted(spans)[:-20] == list(range(len(spans) - 20))
        assert read(spool, "PRAGMA integrity_check") == [("ok",)]
        """,
    )


def test_a_full_disk_keeps_nothing_more_and_loses_nothing(processes: Processes) -> None:
    """A batch is kept whole or not at all, and again as soon as there is room."""
    output = processes.run(
        """
        import logging
        logging.basicConfig(stream=sys.stdout, format="%(levelname)s")
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limit[1]))
        kept = [len(spool.keep([end(10 * batch + n, text="x" * 5000) for n in range(10)])) for batch in range(8)]
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        kept.append(len(spool.keep([end(100)])))
        print(kept, sum(kept) == len(spool.claim(1000, MIB)))
        """,
    )
    assert output == "ERROR\nWARNING\n[10, 10, 10, 0, 0, 0, 0, 0, 1] True\n"


def test_processes_claim_at_once_and_no_row_goes_to_two(tmp_path: Path, processes: Processes) -> None:
    """Each span is handed out once, and each process gets its own oldest first."""
    Spool(tmp_path, endpoint=ENDPOINT, account_id=ACCOUNT).keep([end(number) for number in range(100)])
    script = """
        print("ready", flush=True)
        sys.stdin.readline()
        while claimed := spool.claim(5, MIB):
            print(*spans_of(claimed))
            spool.forget(claimed)
        """
    ready = [(process, line_of(process)) for process in [processes.start(script) for _ in range(2)]]
    outputs = [[int(span) for span in process.communicate("go\n")[0].split()] for process, _ in ready]
    assert sorted(outputs[0] + outputs[1]) == list(range(100))
    assert outputs == [sorted(output) for output in outputs]
