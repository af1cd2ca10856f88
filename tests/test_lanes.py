"""The lanes: every promise about order and bounds, with no thread and no clock."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from otel_sgp_exporter._lanes import QUEUE_FULL, REASSERT_SECONDS, Lanes
from otel_sgp_exporter._ledger import Ledger
from otel_sgp_exporter._outcome import DELIVERED, SUPERSEDED, DropReason, Ending, Outcome
from otel_sgp_exporter._record import Phase, Record
from support import TRACE_ID, ended_span

TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
PARENT = SpanContext(TRACE, 0xAA, is_remote=False)
MANY, LARGE = 1000, 1_000_000


def record(phase: Phase, span_id: int, charged_bytes: int = 100, parent: SpanContext | None = PARENT) -> Record:
    context = SpanContext(TRACE, span_id, is_remote=False, trace_flags=TraceFlags(1))
    made = Record(phase, (TRACE, span_id), ReadableSpan("span", context, parent=parent, start_time=1, end_time=2))
    made.charged_bytes = charged_bytes
    return made


def start(span_id: int, charged_bytes: int = 100) -> Record:
    return record(Phase.START, span_id, charged_bytes)


def end(span_id: int, charged_bytes: int = 100, parent: SpanContext | None = PARENT) -> Record:
    return record(Phase.END, span_id, charged_bytes, parent)


def send_unclear_start(lanes: Lanes, now: float) -> None:
    """Of span 1; at this time, nobody knew whether it had arrived."""
    lanes.offer(start(1), 0)
    [first] = lanes.take(MANY, LARGE, 0)
    lanes.unclear([first], now)
    lanes.settle(first)


def test_a_batch_mixes_starts_and_ends_of_different_spans() -> None:
    """STARTs and ENDs share requests, oldest first."""
    lanes = Lanes(MANY, LARGE)
    records = [end(1), start(2), end(3), start(4)]
    for age, each in enumerate(records):
        lanes.offer(each, age)
    assert lanes.take(MANY, LARGE, 9) == records


def test_an_end_waits_for_its_own_start_in_flight_and_for_nothing_else() -> None:
    """An END is parked while its START is in flight; another span's END passes."""
    lanes = Lanes(MANY, LARGE)
    lanes.offer(start(1), 0)
    [first] = lanes.take(MANY, LARGE, 0)
    own, other = end(1), end(2)
    lanes.offer(own, 1)
    lanes.offer(other, 2)
    assert lanes.take(MANY, LARGE, 3) == [other]
    lanes.settle(first)
    assert lanes.take(MANY, LARGE, 4) == [own]


def test_both_upserts_of_a_short_span_are_sent_start_first_in_an_earlier_request() -> None:
    """With no delay a waiting START is not given up for its END."""
    lanes = Lanes(MANY, LARGE)
    first, second = start(1), end(1)
    assert lanes.offer(first, 0) + lanes.offer(second, 0) == []
    assert lanes.take(MANY, LARGE, 1) == [first]
    assert lanes.take(MANY, LARGE, 1) == []
    lanes.settle(first)
    assert lanes.take(MANY, LARGE, 1) == [second]


def test_a_start_within_its_delay_is_superseded_by_its_end() -> None:
    """With a delay, a span that ends in time costs one upsert."""
    lanes = Lanes(MANY, LARGE, start_delay_seconds=5)
    first, second = start(1), end(1)
    lanes.offer(first, 0)
    assert lanes.take(MANY, LARGE, 4) == []
    assert lanes.offer(second, 4) == [(first, SUPERSEDED)]
    assert lanes.take(MANY, LARGE, 4) == [second]


def test_a_start_whose_delay_is_over_is_sent_before_its_end() -> None:
    """With a delay, a span that stays open is shown."""
    lanes = Lanes(MANY, LARGE, start_delay_seconds=5)
    first = start(1)
    lanes.offer(first, 0)
    assert lanes.next_due(0.25) == 5
    assert lanes.take(MANY, LARGE, 5) == [first]


def test_a_hurry_sends_starts_before_their_delay_is_over() -> None:
    """A flush shows what is running."""
    lanes = Lanes(MANY, LARGE, start_delay_seconds=5)
    first = start(1)
    lanes.offer(first, 0)
    assert lanes.take(MANY, LARGE, 0, hurry=True) == [first]


def test_a_start_after_its_end_is_superseded() -> None:
    """No START is sent once its END is known, wherever that END is."""
    lanes = Lanes(MANY, LARGE)
    lanes.offer(end(1), 0)
    late = start(1)
    assert lanes.offer(late, 1) == [(late, SUPERSEDED)]
    lanes.take(MANY, LARGE, 1)
    later = start(1)
    assert lanes.offer(later, 2) == [(later, SUPERSEDED)]


def test_a_second_end_replaces_the_one_that_waits() -> None:
    """A span resumed and ended twice costs one row, the newer."""
    lanes = Lanes(MANY, LARGE)
    older, newer = end(1), end(1)
    lanes.offer(older, 0)
    assert lanes.offer(newer, 1) == [(older, SUPERSEDED)]
    assert lanes.take(MANY, LARGE, 2) == [newer]


def test_pressure_gives_up_starts_first_then_plain_ends_then_those_that_explain_a_trace() -> None:
    """The documented order of loss."""
    lanes = Lanes(3, LARGE)
    root, plain, waiting = end(1, parent=None), end(2), start(3)
    for each in (root, plain, waiting):
        lanes.offer(each, 0)
    refused = start(4)
    assert lanes.offer(refused, 1) == [(refused, QUEUE_FULL)]
    another_root = end(5, parent=None)
    assert lanes.offer(another_root, 1) == [(waiting, QUEUE_FULL)]
    third_root = end(6, parent=None)
    assert lanes.offer(third_root, 1) == [(plain, QUEUE_FULL)]
    assert lanes.offer(end(7, parent=None), 1) == [(root, QUEUE_FULL)]


def test_a_start_shed_while_its_end_waits_is_superseded() -> None:
    """Giving up such a START loses nothing."""
    lanes = Lanes(2, LARGE)
    first, second = start(1), end(1)
    lanes.offer(first, 0)
    lanes.offer(second, 0)
    assert lanes.offer(end(2), 1) == [(first, SUPERSEDED)]
    assert second in lanes.take(MANY, LARGE, 2)


def test_a_record_larger_than_the_whole_queue_costs_only_itself() -> None:
    """One giant span does not empty the queue."""
    lanes = Lanes(MANY, 1000)
    lanes.offer(end(1), 0)
    giant = end(2, charged_bytes=1001)
    assert lanes.offer(giant, 0) == [(giant, QUEUE_FULL)]
    assert len(lanes) == 1


def test_a_span_larger_than_the_whole_queue_goes_without_its_largest_parts() -> None:
    """Its row says how much is missing; nobody else's place is taken."""
    lanes = Lanes(MANY, 10_000)
    waiting = end(1)
    lanes.offer(waiting, 0)
    span = ended_span(
        2, attributes={"small": "kept", "large": "x" * 20_000}, events=[Event("e", {"text": "y" * 9_000})]
    )
    giant = Record(Phase.END, (TRACE_ID, 2), span)
    assert giant.charged_bytes > 29_000
    assert lanes.offer(giant, 0) == []
    assert giant.attributes == {"small": "kept", "large": "[20000 bytes left out: too large for max_queue_bytes]"}
    assert (giant.events, giant.dropped_events) == ((), 1)
    assert lanes.take(MANY, LARGE, 1) == [waiting, giant]


def test_a_record_that_grew_when_encoded_is_made_room_for_by_the_next_offer() -> None:
    """The estimate admits, the encoded size corrects."""
    lanes = Lanes(MANY, 1000)
    grown, waiting = end(1), end(2)
    lanes.offer(grown, 0)
    assert lanes.take(1, LARGE, 0) == [grown]
    lanes.offer(waiting, 0)
    grown.fragment = b" " * 900
    lanes.recharge([grown])
    newest = end(3)
    assert lanes.offer(newest, 1) == [(waiting, QUEUE_FULL)]
    assert lanes.charged_bytes == 1000


def test_an_end_is_repeated_once_its_start_can_no_longer_be_applied_late() -> None:
    """A START of which nobody knows whether it arrived may land after the END: so the END has the last word."""
    lanes = Lanes(MANY, LARGE)
    send_unclear_start(lanes, now=1)
    lanes.offer(end(1), 2)
    [last] = lanes.take(MANY, LARGE, 2)
    last.fragment = b'{"id":"1"}'
    lanes.settle(last, delivered=True)
    assert lanes.next_due(0.25) == 1 + REASSERT_SECONDS
    assert lanes.take(MANY, LARGE, 1) == []
    assert lanes.next_due(0.25, hurry=True) == 1 + REASSERT_SECONDS  # a flush is no reason to be too early
    assert lanes.take(MANY, LARGE, 1, hurry=True) == []
    [again] = lanes.take(MANY, LARGE, 1 + REASSERT_SECONDS)
    assert (again.phase, again.key, again.fragment) == (Phase.REASSERT, last.key, last.fragment)
    lanes.settle(again, delivered=True)
    assert len(lanes) == 0


def test_an_end_that_is_to_be_repeated_is_not_given_up_for_others() -> None:
    """It was counted as delivered: without the repetition its row may be wrong, and nobody would know."""
    lanes = Lanes(1, LARGE)
    send_unclear_start(lanes, now=0)
    lanes.offer(end(1), 1)
    [last] = lanes.take(MANY, LARGE, 1)
    last.seal(b"{}")
    lanes.settle(last, delivered=True)
    other = end(2)
    assert lanes.offer(other, 2) == [(other, QUEUE_FULL)]
    assert [each.phase for each in lanes.take(MANY, LARGE, 9)] == [Phase.REASSERT]


def test_an_end_in_place_of_one_that_is_to_be_repeated_is_repeated_in_its_turn() -> None:
    """The START may land on the second END as well."""
    lanes = Lanes(MANY, LARGE)
    send_unclear_start(lanes, now=1)
    for now in (2, 3):
        lanes.offer(end(1), now)
        [last] = lanes.take(MANY, LARGE, now)
        last.seal(b"{}")
        lanes.settle(last, delivered=True)
        assert lanes.unconfirmed == 1
    [again] = lanes.take(MANY, LARGE, 1 + REASSERT_SECONDS)
    assert again.phase is Phase.REASSERT


def test_an_end_long_after_an_unclear_start_is_not_repeated() -> None:
    """By then the START has been applied or never will be."""
    lanes = Lanes(MANY, LARGE)
    send_unclear_start(lanes, now=0)
    lanes.offer(end(1), 10)
    [last] = lanes.take(MANY, LARGE, 10)
    last.fragment = b"{}"
    lanes.settle(last, delivered=True)
    assert len(lanes) == 0


def test_what_is_given_back_goes_before_all_others() -> None:
    """Records that could not be sent keep their place, and a START whose END has come is given up."""
    lanes = Lanes(MANY, LARGE)
    first, second, third = end(1), start(2), end(3)
    for each in (first, second):
        lanes.offer(each, 0)
    batch = lanes.take(MANY, LARGE, 0)
    lanes.offer(third, 1)
    own = end(2)
    lanes.offer(own, 1)
    assert lanes.give_back(batch) == [(second, SUPERSEDED)]
    assert lanes.take(1, LARGE, 2) == [first]
    assert lanes.take(MANY, LARGE, 2) == [own, third]


def test_a_batch_is_full_by_records_or_by_bytes() -> None:
    """A full batch does not linger."""
    lanes = Lanes(MANY, LARGE)
    lanes.offer(end(1, charged_bytes=600), 0)
    assert not lanes.is_full(2, 1000)
    lanes.offer(end(2, charged_bytes=600), 0)
    assert lanes.is_full(2, LARGE)
    assert lanes.is_full(MANY, 1000)
    assert len(lanes.take(MANY, 1000, 0)) == 1


class Anything(RuleBasedStateMachine):
    """Every interleaving of offers, batches and answers."""

    @initialize(
        delay=st.sampled_from([0.0, 0.0, 3.0]), max_records=st.integers(1, 12), max_bytes=st.integers(300, 2000)
    )
    def begin(self, delay: float, max_records: int, max_bytes: int) -> None:
        self.max_records, self.max_bytes = max_records, max_bytes
        self.lanes, self.ledger = Lanes(max_records, max_bytes, delay), Ledger()
        self.now = 0.0
        self.batches: list[list[Record]] = []
        self.offered: list[Record] = []
        self.ended: dict[Record, Ending] = {}
        self.end_known: set[tuple[int, int]] = set()
        self.on_the_wire: set[tuple[int, int]] = set()

    def count_out(self, each: Record, ending: Ending) -> None:
        if each.phase is Phase.REASSERT:
            return self.ledger.ended([each], ending)
        assert each not in self.ended
        self.ended[each] = ending
        return self.ledger.ended([each], ending)

    @rule(
        span_id=st.integers(1, 6),
        phase=st.sampled_from([Phase.START, Phase.END]),
        size=st.integers(1, 400),
        root=st.booleans(),
    )
    def offer(self, span_id: int, phase: Phase, size: int, root: bool) -> None:
        each = record(phase, span_id, size, None if root else PARENT)
        self.offered.append(each)
        self.ledger.offered(each)
        for lost, ending in self.lanes.offer(each, self.now):
            self.count_out(lost, ending)

    @rule(seconds=st.floats(0, 5))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 5), size=st.integers(1, 1000), hurry=st.booleans())
    def take(self, count: int, size: int, hurry: bool) -> None:
        batch = self.lanes.take(count, size, self.now, hurry=hurry)
        assert len(batch) <= count
        assert len({each.key for each in batch}) == len(batch)
        assert len(batch) <= 1 or sum(each.charged_bytes for each in batch) <= size
        for each in batch:
            assert each.key not in self.on_the_wire, "two records of one span on the wire at once"
            assert each.phase is Phase.END or each.key not in self.end_sent(), "START after END"
            self.on_the_wire.add(each.key)
        if batch:
            self.batches.append(batch)

    def end_sent(self) -> set[tuple[int, int]]:
        waiting = {each.key for each in self.offered if each not in self.ended and each.phase is Phase.END}
        flying = {each.key for batch in self.batches for each in batch if each.phase is Phase.END}
        return waiting & flying

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), ending=st.sampled_from([DELIVERED, Ending(Outcome.DROPPED, DropReason.BUDGET_SPENT)]))
    def settle(self, data: st.DataObject, ending: Ending) -> None:
        batch = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        for each in batch:
            each.fragment = each.fragment or b" " * data.draw(st.integers(1, each.charged_bytes))
        self.lanes.recharge(batch)
        for each in batch:
            self.lanes.settle(each, delivered=ending is DELIVERED)
            self.on_the_wire.discard(each.key)
            self.count_out(each, ending)

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def give_up_starts_whose_end_has_come(self, data: st.DataObject) -> None:
        batch = self.batches[data.draw(st.integers(0, len(self.batches) - 1))]
        for each in self.lanes.superseded(batch):
            batch.remove(each)
            self.lanes.settle(each)
            self.on_the_wire.discard(each.key)
            self.count_out(each, SUPERSEDED)

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def lose_the_answer(self, data: st.DataObject) -> None:
        self.lanes.unclear(self.batches[data.draw(st.integers(0, len(self.batches) - 1))], self.now)

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        batch = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        self.on_the_wire -= {each.key for each in batch}
        for each, ending in self.lanes.give_back(batch):
            self.count_out(each, ending)

    @rule(count=st.integers(1, 5))
    def relieve(self, count: int) -> None:
        records, ended = self.lanes.relieve(count)
        assert len(records) <= count
        assert all(each.phase is Phase.END and each.key not in self.on_the_wire for each in records)
        for each, ending in ended:
            self.count_out(each, ending)
        if records:
            self.on_the_wire |= {each.key for each in records}
            self.batches.append(records)

    @rule()
    def clear(self) -> None:
        for each in self.lanes.clear():
            self.count_out(each, Ending(Outcome.DROPPED, DropReason.CLOSED))

    @invariant()
    def every_record_is_somewhere_exactly_once(self) -> None:
        stats = self.ledger.stats()
        assert stats.offered == len(self.offered)
        repeated = sum(each.phase is Phase.REASSERT for batch in self.batches for each in batch)
        repeated += len(self.lanes._reasserts)
        assert stats.pending == len(self.lanes) - repeated == len(self.offered) - len(self.ended)
        ends = stats.delivered + stats.superseded + stats.rejected + stats.dropped + stats.spooled
        assert stats.offered == ends + stats.pending

    @invariant()
    def the_bounds_hold(self) -> None:
        assert len(self.lanes) <= self.max_records
        assert self.lanes.charged_bytes <= self.max_bytes
        held = [each for queue in self.lanes._all for each in queue.values()]
        assert len(self.lanes) == len(held)
        assert self.lanes.charged_bytes == sum(each.charged_bytes for each in held)

    def teardown(self) -> None:
        """At last everything can be taken: no END is stuck behind a START that is over."""
        if not hasattr(self, "lanes"):
            return
        while self.batches or len(self.lanes):
            while batch := self.lanes.take(MANY, LARGE, float("inf"), hurry=True):
                self.batches.append(batch)
            assert self.batches
            for each in self.batches.pop():
                self.lanes.settle(each)
        assert self.lanes.charged_bytes == 0


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
