"""What the pipeline's lock guards, where the lanes alone do not decide."""

import time

import pytest

from otel_sgp_exporter._config import ProcessorConfig
from otel_sgp_exporter._delivery import Failed, Returned, Settled
from otel_sgp_exporter._guard import Guard
from otel_sgp_exporter._lanes import REASSERT_SECONDS
from otel_sgp_exporter._outcome import DELIVERED, Action, DropReason, Ending, Outcome, Verdict
from otel_sgp_exporter._record import Phase, Record, snapshot
from otel_sgp_exporter._state import State
from support import ended_span

CLOSED = Ending(Outcome.DROPPED, DropReason.CLOSED)
UNREACHABLE = Verdict(Action.RETRY, why="nobody there", reason=DropReason.BUDGET_SPENT)


def record(phase: Phase, span_id: int = 1) -> Record:
    made = snapshot(phase, ended_span(span_id))
    assert made is not None
    return made


@pytest.mark.parametrize("phase", [Phase.START, Phase.END])
def test_what_a_sender_returns_to_a_closed_pipeline_is_counted(phase: Phase) -> None:
    """Nobody would take it from the queue any more."""
    state = State(ProcessorConfig.from_env(schedule_delay_millis=1))
    state.admit(record(phase), 0)
    taken = state.take(1, 1_000_000)
    assert taken is not None
    state.closed = True
    state.happened(Returned(taken[0], UNREACHABLE), 2)
    stats = state.stats()
    assert (stats.pending, stats.dropped) == (0, 1)


def test_an_end_is_held_while_another_record_of_its_span_may_still_be_applied() -> None:
    """Whether that is in flight, or was not answered."""
    state = State(ProcessorConfig.from_env(schedule_delay_millis=1))
    first, second = record(Phase.END, 1), record(Phase.END, 2)
    state.admit(record(Phase.START, 1), 0)
    taken = state.take(1, 1_000_000)
    assert taken is not None
    state.admit(first, 1)
    state.admit(second, 1)
    assert state.held([first, second], 2, 10) == {first.key: 10 + REASSERT_SECONDS}
    state.happened(Failed(taken[0], Verdict(Action.RETRY, why="timed out", unclear=True)), 3)
    state.happened(Settled(taken[0], CLOSED), 3)
    assert state.held([first, second], 4, 10) == {first.key: REASSERT_SECONDS - 1}
    assert state.held([first, second], 3 + REASSERT_SECONDS, 10) == {}


def in_flight(state: State, count: int) -> list[Record]:
    for number in range(1, count + 1):
        state.admit(record(Phase.END, number), 0)
    taken = state.take(1, 1_000_000)
    assert taken is not None
    return list(taken[0])


def test_what_had_left_the_lanes_when_settling_was_interrupted_is_counted() -> None:
    """The rest is pending still: nothing is counted twice, or never."""
    state = State(ProcessorConfig.from_env(schedule_delay_millis=1))
    ends = in_flight(state, 3)
    ends.insert(2, record(Phase.END, 99))  # was never here, and so stands for an interrupt
    with pytest.raises(KeyError):
        state.happened(Settled(ends, DELIVERED), 2)
    stats = state.stats()
    assert (stats.delivered, stats.pending, stats.in_flight) == (2, 1, 1)


def test_a_receipt_that_breaks_its_promise_leaves_the_counts_right() -> None:
    """It must not raise; if it does, what was delivered is delivered, and pending no more."""

    def broken(record: Record, ending: object) -> None:
        raise ZeroDivisionError

    state = State(ProcessorConfig.from_env(schedule_delay_millis=1))
    ends = in_flight(state, 3)
    ends[1].receipts = [broken]
    with pytest.raises(ZeroDivisionError):
        state.happened(Settled(ends, DELIVERED), 2)
    stats = state.stats()
    assert (stats.offered, stats.delivered, stats.pending) == (3, 3, 0)


def test_a_flood_is_admitted_a_few_records_at_a_time() -> None:
    """Senders get the lock in between: an answer that waits for it keeps the next request waiting."""
    state = State(ProcessorConfig.from_env())
    guard = Guard(state, time.monotonic, lambda sooner: None)
    guard.has_porter = True  # but nobody is there: what is offered heaps up, and its room doubles every time
    ahead: list[int] = []

    def make(number: int) -> Record:
        ahead.append(number - len(state.lanes))
        return record(Phase.END, number)

    for number in range(1, 32 + 64 + 128 + 1):
        guard.offer((make, number))
    assert len(ahead) == len(state.lanes) == 224
    assert max(ahead) == 32


@pytest.mark.parametrize(("requests_at_once", "has_time"), [(8, True), (1, False)])
def test_there_is_time_for_spooled_spans_while_others_linger_if_one_more_request_may_go(
    requests_at_once: int, has_time: bool
) -> None:
    """Not while a batch is due, and not while the server wants silence."""
    config = ProcessorConfig.from_env(max_concurrent_exports=requests_at_once, schedule_delay_millis=1000)
    state = State(config)
    assert state.has_time(0, 1_000_000)
    state.admit(record(Phase.END), 0)
    assert state.has_time(0.5, 1_000_000) is has_time
    assert not state.has_time(1, 1_000_000)
    state.gate.shut(10, None)
    assert not state.has_time(0.5, 1_000_000)
