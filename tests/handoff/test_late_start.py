"""A START must not land on an END that came from elsewhere: two processes, one hostile server, both of SGP's stores.

As `test_model`, with a clock that passes when told: every interleaving of two processes that know of each other only
what is in the token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from otel_sgp_exporter._config import ProcessorConfig
from otel_sgp_exporter._delivery import Delivery, Event, Terms, Turn
from otel_sgp_exporter._lanes import REASSERT_SECONDS
from otel_sgp_exporter._outcome import Reply, TransportError
from otel_sgp_exporter._record import Phase, Record
from otel_sgp_exporter._state import HANDED_OFF_SECONDS, State
from otel_sgp_exporter._wire import Encoder
from otel_sgp_exporter.testing import FakeClock, ScriptedTransport, Sent
from test_model import Stores

TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
REQUEST_SECONDS = 5.0
MAX_BYTES = 100_000

OK, LOST_ANSWER, LATE, BUSY, SILENCE = "applied", "applied, answer lost", "applied late", "500", "503 with Retry-After"
FAULTS = st.sampled_from((OK, LOST_ANSWER, LATE, BUSY, SILENCE))


def record(phase: Phase, number: int) -> Record:
    context = SpanContext(TRACE, number, is_remote=False, trace_flags=TraceFlags(1))
    span = ReadableSpan(str(number), context, start_time=1_000_000, end_time=2_000_000)
    return Record(phase, (TRACE, number), span)


@dataclass
class Process:
    """State and delivery of one process, run by hand."""

    clock: FakeClock
    answer: Any
    delay_millis: float = 0.0
    senders: list[tuple[Iterator[Event], bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = ProcessorConfig.from_env(
            max_export_batch_size=4, start_delay_millis=self.delay_millis, schedule_delay_millis=1
        )
        self.state = State(config)
        self.transport = ScriptedTransport(self.answer)
        self.delivery = Delivery(
            self.transport, Encoder(), request_seconds=REQUEST_SECONDS, max_request_bytes=MAX_BYTES, clock=self.clock
        )

    def offer(self, phase: Phase, number: int) -> None:
        self.state.admit(record(phase, number), self.clock())

    def hand_off(self, number: int) -> float:
        return self.state.hand_off((TRACE, number), self.clock(), REQUEST_SECONDS)

    def expect_start(self, number: int, seconds: float) -> None:
        self.state.resume((TRACE, number), seconds, self.clock())

    def take(self) -> None:
        """A sender takes a batch, if there is one."""
        taken = self.state.take(self.clock(), MAX_BYTES)
        if taken is not None:
            records, is_probe = taken
            terms = Terms(
                deadline=lambda: self.clock() + 1000,  # nothing is given up: that is counted, and not the matter here
                wait=lambda seconds: None,
                turn=lambda deadline: self.turn(is_probe=is_probe),
                late=lambda records: self.state.late(records, self.clock()),
                superseded=lambda records: self.state.superseded(records, self.clock()),
            )
            self.senders.append((self.delivery.deliver(records, terms), is_probe))

    @contextmanager
    def turn(self, *, is_probe: bool) -> Iterator[Turn]:
        turn = Turn(is_probe or (self.state.gate.is_open and self.state.window.has_room))
        if turn.granted:
            self.state.window.enter()
        yield turn
        if turn.granted:
            self.state.answered(turn.verdict, self.clock(), is_probe=is_probe)

    def go_on(self, number: int) -> None:
        """One event of a delivery under way."""
        events, is_probe = self.senders[number]
        event = next(events, None)
        if event is not None:
            self.state.happened(event, self.clock())
            return
        del self.senders[number]
        if is_probe:
            self.state.gate.leave()

    def run(self) -> None:
        """Until nothing is left to do at the moment."""
        self.take()
        while self.senders:
            self.go_on(0)

    @property
    def is_done(self) -> bool:
        return not self.senders and self.state.lanes.is_idle


def names(process: Process) -> list[tuple[str, bool]]:
    """What was sent: of which span, and whether it was an END."""
    return [(item["name"], "end_timestamp" in item) for sent in process.transport.attempts for item in sent.items]


def test_a_start_that_sgp_has_leaves_nothing_to_be_expected() -> None:
    """The token then says so, and the END goes once."""
    one = Process(FakeClock(), lambda sent: 200)
    one.offer(Phase.START, 1)
    one.clock.now += 1
    one.run()
    assert len(one.state.open_spans) == 1
    assert one.hand_off(1) == 0
    assert len(one.state.open_spans) == len(one.state.handed_off) == 0


def test_a_start_is_not_sent_when_its_span_was_handed_off_long_ago() -> None:
    """An outage holds it back; when that is over, the END may have come from elsewhere."""
    one = Process(FakeClock(), lambda sent: Reply(503, {"retry-after": "20"}, ""))
    one.offer(Phase.START, 1)
    one.clock.now += 1
    one.run()
    assert one.hand_off(1) == HANDED_OFF_SECONDS + REQUEST_SECONDS + REASSERT_SECONDS
    one.transport.attempts.clear()
    one.clock.now += 21
    one.offer(Phase.START, 2)
    one.clock.now += 1
    one.run()
    assert names(one) == [("2", False)]
    assert one.state.stats().superseded == 1
    assert one.state.handed_off == {}


def test_a_start_is_not_tried_again_when_its_span_was_handed_off_long_ago() -> None:
    """Nor is it while its batch goes on."""
    one = Process(FakeClock(), lambda sent: 500)
    one.offer(Phase.START, 1)
    one.offer(Phase.START, 2)
    one.clock.now += 1
    one.take()
    one.go_on(0)
    one.hand_off(1)
    one.clock.now += HANDED_OFF_SECONDS
    one.go_on(0)
    one.go_on(0)
    assert names(one) == [("1", False), ("2", False), ("2", False)]
    assert one.state.stats().superseded == 1


def test_a_start_that_waits_for_its_turn_is_not_sent_when_its_span_was_handed_off_long_ago() -> None:
    """A sender that has taken a batch may still have to wait."""
    one = Process(FakeClock(), lambda sent: 200)
    one.offer(Phase.START, 1)
    one.clock.now += 1
    one.take()
    one.hand_off(1)
    one.clock.now += HANDED_OFF_SECONDS
    one.run()
    assert names(one) == []
    assert (one.state.stats().superseded, one.state.handed_off) == (1, {})


def test_a_start_of_which_nobody_knows_whether_it_arrived_is_in_the_token() -> None:
    """It may be applied after the END that another process sends."""
    one = Process(FakeClock(), lambda sent: TransportError("no answer", body_sent=True) if sent.size else 200)
    one.offer(Phase.START, 1)
    one.clock.now += 1
    one.take()
    one.go_on(0)
    one.transport._script = lambda sent: 200
    one.run()
    one.clock.now += 2
    assert one.hand_off(1) == REASSERT_SECONDS - 2


def test_an_end_is_repeated_when_a_start_may_come_from_elsewhere() -> None:
    """Once, when that can no longer happen; and whoever gets the span next has to know of it, too."""
    two = Process(FakeClock(), lambda sent: 200)
    two.expect_start(1, 20)
    assert two.hand_off(1) == 20
    two.offer(Phase.END, 1)
    two.clock.now += 1
    two.run()
    assert names(two) == [("1", True)]
    two.clock.now += 18.5
    two.run()
    assert len(names(two)) == 1
    two.clock.now += 1
    two.run()
    assert names(two) == [("1", True), ("1", True)]
    assert two.is_done


class TwoProcesses(RuleBasedStateMachine):
    """Spans that start in the first and end in the second."""

    @initialize(delay_millis=st.sampled_from([0.0, 0.0, 1000.0]))
    def begin(self, delay_millis: float) -> None:
        self.clock = FakeClock()
        self.stores = Stores()
        self.late: list[tuple[float, Sequence[dict[str, Any]]]] = []
        self.fault = OK
        self.one = Process(self.clock, self.answer, delay_millis)
        self.two = Process(self.clock, self.answer, delay_millis)
        self.started = 0
        self.handed_over: list[int] = []
        self.resumed: list[int] = []
        self.ended: list[int] = []

    def answer(self, sent: Sent) -> Any:
        if self.fault in (OK, LOST_ANSWER):
            self.stores.apply(sent.items)
        if self.fault is LATE:
            self.late.append((self.clock() + REASSERT_SECONDS - 0.5, sent.items))
        if self.fault in (LOST_ANSWER, LATE):
            return TransportError(self.fault, body_sent=True)
        return {OK: 200, BUSY: 500}.get(self.fault) or Reply(503, {"retry-after": "3"}, "")

    @precondition(lambda self: self.started < 3)
    @rule()
    def a_span_starts(self) -> None:
        self.started += 1
        self.one.offer(Phase.START, self.started)

    @precondition(lambda self: self.started > len(self.handed_over))
    @rule()
    def it_is_handed_over(self) -> None:
        number = len(self.handed_over) + 1
        self.handed_over.append(number)
        self.two.expect_start(number, self.one.hand_off(number))

    @precondition(lambda self: len(self.handed_over) > len(self.ended))
    @rule(data=st.data())
    def it_ends_elsewhere(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([each for each in self.handed_over if each not in self.ended]))
        self.ended.append(number)
        self.two.offer(Phase.END, number)

    @rule(fault=FAULTS)
    def the_first_sends(self, fault: str) -> None:
        self.fault = fault
        self.one.take()

    @rule(fault=FAULTS)
    def the_second_sends(self, fault: str) -> None:
        self.fault = fault
        self.two.take()

    @precondition(lambda self: self.one.senders or self.two.senders)
    @rule(fault=FAULTS, data=st.data())
    def a_sender_goes_on(self, fault: str, data: st.DataObject) -> None:
        self.fault = fault
        process = data.draw(st.sampled_from([each for each in (self.one, self.two) if each.senders]))
        process.go_on(data.draw(st.integers(0, len(process.senders) - 1)))

    @rule(seconds=st.sampled_from([0.5, 2.0, 4.9, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        for due, items in [late for late in self.late if late[0] <= self.clock.now]:
            self.stores.apply(items)
            self.late.remove((due, items))

    def teardown(self) -> None:
        if not hasattr(self, "one"):
            return
        self.fault = OK
        for _ in range(200):
            self.time_passes(1.0)
            self.one.run()
            self.two.run()
        assert self.one.is_done
        assert self.two.is_done
        assert self.one.state.handed_off == {}
        assert not any(number in self.handed_over for _, number in self.one.state.open_spans._starts)
        for number in self.ended:
            for store in (self.stores.legacy, self.stores.tracing):
                (row,) = [row for row in store.values() if row["name"] == str(number)]
                assert "end_timestamp" in row, "the store shows an ended span as running"


TestTwoProcesses = TwoProcesses.TestCase
TestTwoProcesses.settings = settings(max_examples=400, stateful_step_count=25, deadline=None)
