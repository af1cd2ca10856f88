"""Lanes, gate and delivery against a hostile server and both of SGP's stores, with a clock that passes when told.

Every interleaving of offers, batches, attempts and answers that Hypothesis can think of; requests that are applied and
not answered, not applied, or applied late. After quiescence every ended span that was not counted as lost has to be
complete in both stores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from otel_sgp_exporter._config import ProcessorConfig
from otel_sgp_exporter._delivery import Delivery, Event, Terms, Turn
from otel_sgp_exporter._lanes import REASSERT_SECONDS
from otel_sgp_exporter._outcome import DELIVERED, Ending, Reply, TransportError
from otel_sgp_exporter._record import Phase, Record, SpanKey
from otel_sgp_exporter._state import State
from otel_sgp_exporter._wire import Encoder
from otel_sgp_exporter.testing import FakeClock, ScriptedTransport, Sent

TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
MAX_BYTES = 100_000
BAD_SPAN = 5  # the server refuses it, and every batch with it

OK = "applied and answered"
LOST_ANSWER = "applied, answer lost"
LATE = "applied late, no answer"
NEVER = "body sent, not applied, no answer"
REFUSED_CONNECTION = "not sent"
BUSY = "500"
SILENCE = "503 with Retry-After"
UNAUTHORISED = "401"
FAULTS = (OK, OK, LOST_ANSWER, LATE, NEVER, REFUSED_CONNECTION, BUSY, SILENCE, UNAUTHORISED)


@dataclass
class Sender:
    """One batch under way."""

    events: Iterator[Event]
    is_probe: bool


class Stores:
    """The rows of the legacy store, where the last write wins, and of the tracing store, where an END does."""

    def __init__(self) -> None:
        self.legacy: dict[str, dict[str, Any]] = {}
        self.tracing: dict[str, dict[str, Any]] = {}

    def apply(self, items: Sequence[dict[str, Any]]) -> None:
        for item in items:
            self.legacy[item["id"]] = item
            if "end_timestamp" in item or "end_timestamp" not in self.tracing.get(item["id"], {}):
                self.tracing[item["id"]] = item


class HostileServer(RuleBasedStateMachine):
    """The exporter's state and delivery, run by hand."""

    @initialize(delay=st.sampled_from([0.0, 0.0, 1000.0]), queue=st.sampled_from([6, 1000]))
    def begin(self, delay: float, queue: int) -> None:
        self.has_room = queue > 100
        self.clock = FakeClock()
        self.stores = Stores()
        self.late: list[tuple[float, Sequence[dict[str, Any]]]] = []
        self.fault = OK
        self.ends_attempted: set[str] = set()
        self.starts_attempted: set[str] = set()
        self.senders: list[Sender] = []
        self.started: set[int] = set()
        self.ended: set[int] = set()
        self.endings: dict[tuple[SpanKey, Phase], Ending] = {}
        config = ProcessorConfig.from_env(
            max_queue_size=queue, max_export_batch_size=4, start_delay_millis=delay, schedule_delay_millis=1
        )
        self.state = State(config)
        self.count_out, self.state.ledger.ended = self.state.ledger.ended, self.note_endings  # type: ignore[method-assign]
        self.transport = ScriptedTransport(self.answer)
        self.delivery = Delivery(
            self.transport, Encoder(), request_seconds=5, max_request_bytes=MAX_BYTES, clock=self.clock
        )

    def note_endings(self, records: Sequence[Record], ending: Ending) -> None:
        for record in records:
            if record.phase is not Phase.REASSERT:
                assert (record.key, record.phase) not in self.endings, "ended twice"
                self.endings[record.key, record.phase] = ending
        self.count_out(records, ending)

    def answer(self, sent: Sent) -> Any:
        ids = [item["id"] for item in sent.items]
        assert len(ids) == len(set(ids)), "two records of one span in one request"
        for item in sent.items:
            if "end_timestamp" in item:
                self.ends_attempted.add(item["id"])
                continue
            assert item["id"] not in self.ends_attempted, "a START after its END"
            assert not self.end_is_here(int(item["name"])) or item["id"] not in self.starts_attempted, "a vain retry"
            self.starts_attempted.add(item["id"])
        if self.fault is OK and any(item["name"] == str(BAD_SPAN) for item in sent.items):
            return 422
        if self.fault in (OK, LOST_ANSWER):
            self.stores.apply(sent.items)
        if self.fault is LATE and self.has_room:  # under pressure repeating an END is the first thing to be given up
            self.late.append((self.clock() + REASSERT_SECONDS - 0.5, sent.items))
        if self.fault in (LOST_ANSWER, LATE, NEVER):
            return TransportError(self.fault, body_sent=True)
        if self.fault is REFUSED_CONNECTION:
            return TransportError(self.fault, body_sent=False)
        return {OK: 200, BUSY: 500, UNAUTHORISED: 401}.get(self.fault) or Reply(503, {"retry-after": "3"}, "")

    def end_is_here(self, number: int) -> bool:
        return number in self.ended and ((TRACE, number), Phase.END) not in self.endings

    def offer(self, phase: Phase, number: int) -> None:
        context = SpanContext(TRACE, number, is_remote=False, trace_flags=TraceFlags(1))
        span = ReadableSpan(str(number), context, start_time=1_000_000, end_time=2_000_000)
        self.state.admit(Record(phase, (TRACE, number), span), self.clock())

    @precondition(lambda self: len(self.started) < 12)
    @rule()
    def a_span_starts(self) -> None:
        self.started.add(len(self.started) + 1)
        self.offer(Phase.START, len(self.started))

    @precondition(lambda self: self.started - self.ended)
    @rule(data=st.data())
    def a_span_ends(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.started - self.ended)))
        self.ended.add(number)
        self.offer(Phase.END, number)

    @precondition(lambda self: len(self.senders) < 3)
    @rule(hurry=st.booleans())
    def a_sender_takes_a_batch(self, hurry: bool) -> None:
        self.state.hurries = {self} if hurry else set()
        taken = self.state.take(self.clock(), MAX_BYTES)
        if taken is None:
            return
        records, is_probe = taken
        give_up_at = self.clock() + 20
        terms = Terms(
            deadline=lambda: give_up_at,
            wait=lambda seconds: None,
            turn=lambda deadline: self.turn(is_probe=is_probe),
            superseded=self.state.lanes.superseded,
        )
        self.senders.append(Sender(self.delivery.deliver(records, terms), is_probe))

    @contextmanager
    def turn(self, *, is_probe: bool) -> Iterator[Turn]:
        turn = Turn(is_probe or (self.state.gate.is_open and self.state.window.has_room))
        if turn.granted:
            self.state.window.enter()
        yield turn
        if turn.granted:
            self.state.answered(turn.verdict, self.clock(), is_probe=is_probe)

    @precondition(lambda self: self.senders)
    @rule(data=st.data(), fault=st.sampled_from(FAULTS))
    def a_sender_goes_on(self, data: st.DataObject, fault: str) -> None:
        self.advance(data.draw(st.sampled_from(self.senders)), fault)

    def advance(self, sender: Sender, fault: str) -> None:
        self.fault = fault
        event = next(sender.events, None)
        if event is not None:
            self.state.happened(event, self.clock())
            return
        self.senders.remove(sender)
        if sender.is_probe:
            self.state.gate.leave()

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        for due, items in [late for late in self.late if late[0] <= self.clock.now]:
            self.stores.apply(items)
            self.late.remove((due, items))

    @invariant()
    def every_record_is_accounted_for(self) -> None:
        if not hasattr(self, "state"):
            return
        stats = self.state.ledger.stats()
        ends = stats.delivered + stats.superseded + stats.rejected + stats.dropped + stats.spooled
        assert stats.offered == len(self.started) + len(self.ended) == ends + stats.pending

    def teardown(self) -> None:
        if not hasattr(self, "state"):
            return
        for _ in range(2000):
            if not self.senders and self.state.lanes.is_idle and not self.late:
                break
            self.time_passes(1.0)
            self.a_sender_takes_a_batch(hurry=False)
            for sender in list(self.senders):
                self.advance(sender, OK)
        assert self.state.ledger.stats().pending == 0, repr(self.state)
        for (key, phase), ending in self.endings.items():
            if phase is Phase.END and ending == DELIVERED:
                for store in (self.stores.legacy, self.stores.tracing):
                    [row] = [row for row in store.values() if row["name"] == str(key[1])]
                    assert "end_timestamp" in row, "the store shows an ended span as running"


TestHostileServer = HostileServer.TestCase
TestHostileServer.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
