"""One batch to its end: what is asked again, split, mended, returned or given up; no socket and no clock."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext

from otel_sgp_exporter._delivery import Delivery, Event, Failed, Returned, Settled, Terms, Turn
from otel_sgp_exporter._outcome import DELIVERED, DropReason, Ending, Outcome, Reply, TransportError
from otel_sgp_exporter._record import Phase, Record, snapshot
from otel_sgp_exporter._wire import Encoder
from otel_sgp_exporter.testing import FakeClock, ScriptedTransport, Sent
from support import TRACE_ID, ended_span

REFUSED = Ending(Outcome.REJECTED, DropReason.REFUSED)
TOO_LARGE = Ending(Outcome.REJECTED, DropReason.TOO_LARGE)
BUDGET_SPENT = Ending(Outcome.DROPPED, DropReason.BUDGET_SPENT)


def records(count: int, **fields: Any) -> list[Record]:
    """ENDs of spans named after their number."""
    made = [snapshot(Phase.END, ended_span(number + 1, str(number), **fields)) for number in range(count)]
    return [record for record in made if record is not None]


class Run:
    """One delivery under a fake clock, and what came of it."""

    def __init__(
        self,
        script: Callable[[Sent], Any],
        batch: Sequence[Record],
        *,
        budget_seconds: float = 30,
        max_request_bytes: int = 4 * 2**20,
        headers: dict[str, str] | None = None,
        keys: int = 0,
        **terms: Any,
    ) -> None:
        self.clock = FakeClock()
        self.transport = ScriptedTransport(script, headers)
        self.transport.keys_left = keys
        self.delivery = Delivery(
            self.transport, Encoder(), request_seconds=10, max_request_bytes=max_request_bytes, clock=self.clock
        )
        deadline = self.clock() + budget_seconds
        self.names = {record.key: record.name for record in batch}
        self.events: list[Event] = list(self.delivery.deliver(batch, Terms(lambda: deadline, self.clock.wait, **terms)))

    @property
    def requests(self) -> list[list[str]]:
        return [sent.names for sent in self.transport.attempts]

    def ended(self, ending: Ending) -> set[str]:
        settled = [event for event in self.events if isinstance(event, Settled) and event.ending == ending]
        return {self.names[record.key] for event in settled for record in event.records}

    @property
    def returned(self) -> list[str]:
        events = [event for event in self.events if isinstance(event, Returned)]
        return [self.names[record.key] for event in events for record in event.records]


def refuses(*names: str, status: int = 422) -> Callable[[Sent], int]:
    """A server that refuses every batch with one of these in it."""
    return lambda sent: status if set(names) & set(sent.names) else 200


def test_one_request_delivers_a_batch() -> None:
    """The usual case."""
    run = Run(lambda sent: 200, records(3))
    assert run.requests == [["0", "1", "2"]]
    assert run.ended(DELIVERED) == {"0", "1", "2"}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again_with_growing_pauses_until_the_budget_ends(status: int) -> None:
    """Full jitter: each pause is at most twice as long as the last could be, never more than 8 seconds."""
    run = Run(lambda sent: status, records(2), budget_seconds=30)
    assert run.ended(BUDGET_SPENT) == {"0", "1"}
    assert len(run.requests) > 4
    assert all(pause <= min(0.5 * 2**number, 8) for number, pause in enumerate(run.clock.waits))
    assert sum(run.clock.waits) <= 30


def test_a_request_never_outlives_the_budget() -> None:
    """The last attempt has what is left."""
    run = Run(lambda sent: 500, records(1), budget_seconds=4)
    assert all(sent.deadline <= 1000 + 4 for sent in run.transport.attempts)


def test_the_last_attempt_has_time_for_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is cut off after milliseconds may be applied all the same, and nobody would know."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    run = Run(lambda sent: 500, records(1), budget_seconds=7.6)
    assert run.clock.waits == [0.5, 1, 2]  # after four seconds more there would be a tenth of a second
    assert run.ended(BUDGET_SPENT) == {"0"}


def test_a_deadline_that_comes_closer_leaves_a_last_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody closes: what is short for half a minute is long for a second."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    clock, deadline = FakeClock(), [1000.0 + 30]

    def answer(sent: Sent) -> int:
        deadline[0] = clock() + 1
        return 200 if len(transport.attempts) > 1 else 500

    transport = ScriptedTransport(answer)
    delivery = Delivery(transport, Encoder(), request_seconds=10, max_request_bytes=4 * 2**20, clock=clock)
    *_, last = delivery.deliver(records(1), Terms(lambda: deadline[0], clock.wait))
    assert isinstance(last, Settled)
    assert last.ending is DELIVERED


def test_retry_after_returns_the_batch_for_all_to_wait() -> None:
    """Silence is the gate's business: nobody holds a batch meanwhile."""
    run = Run(lambda sent: 503, records(2), headers={"retry-after": "7"})
    assert run.requests == [["0", "1"]]
    assert run.returned == ["0", "1"]
    assert [event.verdict.silence_seconds for event in run.events if isinstance(event, Returned)] == [7]


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "auth"), (403, "auth"), (301, "config"), (308, "config"), (404, "config"), (501, "config")],
)
def test_a_wrong_key_or_url_returns_the_batch_for_a_minute(status: int, reason: str) -> None:
    """Records are kept while someone mends it."""
    run = Run(lambda sent: status, records(2))
    assert run.requests == [["0", "1"]]
    assert run.returned == ["0", "1"]
    [event] = [event for event in run.events if isinstance(event, Returned)]
    assert (event.verdict.silence_seconds, event.verdict.reason) == (60, DropReason(reason))


def test_a_key_that_can_be_renewed_is_tried_once() -> None:
    """A rotated key costs one request; a second refusal is final for now."""
    answers = iter([401, 200])
    assert Run(lambda sent: next(answers), records(1), keys=1).ended(DELIVERED) == {"0"}
    run = Run(lambda sent: 401, records(1), keys=5)
    assert len(run.requests) == 2
    assert run.returned == ["0"]


@pytest.mark.parametrize("bad", [{"0"}, {"199"}, {"0", "199"}, {"0", "1", "2"}, {"3", "50", "51", "120", "121", "122"}])
@pytest.mark.parametrize("status", [400, 422])
def test_bad_spans_cost_only_themselves(bad: set[str], status: int) -> None:
    """A refused batch is halved until each bad span stands alone, in about 2 log2 n requests for each."""
    run = Run(refuses(*bad, status=status), records(200))
    assert run.ended(REFUSED) == bad
    assert len(run.ended(DELIVERED)) == 200 - len(bad)
    assert len(run.requests) <= 2 + 16 * len(bad)


def test_a_fault_common_to_all_is_not_looked_for_in_each() -> None:
    """Three lone spans refused alike and none accepted: the rest is not tried."""
    run = Run(lambda sent: 422, records(200))
    assert len(run.ended(REFUSED)) == 200
    assert len(run.requests) <= 30


@pytest.fixture
def _patient() -> Iterator[None]:
    """The interpreter takes itself from no thread: one lets others run only when it chooses to."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_patient")
def test_encoding_lets_other_threads_run() -> None:
    """An event loop would stutter otherwise, with every large batch."""
    done = threading.Event()
    turns: list[int] = []

    def run() -> None:
        while not done.is_set():
            turns.append(len(turns))
            time.sleep(0.0001)

    other = threading.Thread(target=run, daemon=True)
    other.start()
    batch = records(1000)
    before = len(turns)
    delivery = Delivery(ScriptedTransport(lambda sent: 200), Encoder(), request_seconds=1, max_request_bytes=2**20)
    list(delivery.deliver(batch, Terms(lambda: time.monotonic() + 60, time.sleep)))
    passed = len(turns) - before
    done.set()
    other.join()
    assert passed > 3


@given(
    st.integers(1, 60).flatmap(lambda count: st.tuples(st.just(count), st.sets(st.integers(0, count - 1), max_size=6)))
)
def test_isolation_settles_everything_and_few_bad_spans_never_cost_a_good_one(case: tuple[int, set[int]]) -> None:
    """Whatever the places of the bad spans; unless nearly all are bad, when the stop rule may strike."""
    count, numbers = case
    bad = {str(number) for number in numbers}
    run = Run(refuses(*bad), records(count))
    assert len(run.ended(REFUSED) | run.ended(DELIVERED)) == count
    if len(bad) <= count // 4:
        assert run.ended(REFUSED) == bad


def test_a_conflict_is_tried_once_more_without_the_parent() -> None:
    """A parent that the server places in another trace must not cost the span."""
    parent = SpanContext(TRACE_ID, 0xAB, is_remote=False)
    run = Run(
        lambda sent: 409 if any("parent_id" in item for item in sent.items if item["name"] == "1") else 200,
        [*records(1), *records(2, parent=parent)[1:]],
    )
    assert run.ended(DELIVERED) == {"0", "1"}
    [orphan] = [item for item in run.transport.attempts[-1].items if item["name"] == "1"]
    assert orphan["metadata"]["refused_parent_id"].endswith("00ab")
    assert Run(lambda sent: 409, records(1)).ended(REFUSED) == {"0"}


def test_a_body_that_is_too_large_is_split_by_bytes_and_the_size_is_learned() -> None:
    """After a 413 requests are smaller, for later batches too."""
    text = {"text": "some text " * 2_000}
    run = Run(lambda sent: 413 if sent.size > 150_000 else 200, records(20, attributes=text))
    assert len(run.ended(DELIVERED)) == 20
    assert run.delivery.max_request_bytes <= 250_000
    before = len(run.requests)
    list(run.delivery.deliver(records(20, attributes=text), Terms(lambda: 2000.0, run.clock.wait)))
    assert all(sent.size <= 250_000 for sent in run.transport.attempts[before:])


def test_a_span_that_is_too_large_alone_is_shortened_with_a_marker() -> None:
    """It arrives with its ids, its times and the head of its texts; its neighbours arrive whole."""
    [large] = records(1, attributes={"gen_ai.tool.call.result": "some text " * 20_000, "kept": "short"})
    neighbours = records(3)[1:]
    run = Run(lambda sent: 413 if sent.size > 100_000 else 200, [large, *neighbours])
    assert run.ended(DELIVERED) == {"0", "1", "2"}
    *_, item = [item for sent in run.transport.attempts for item in sent.items if item["name"] == "0"]
    assert item["metadata"]["truncated_from_bytes"] > 100_000
    assert "characters cut]" in str(item)
    assert "short" in str(item)


def test_a_span_larger_than_any_request_is_shortened_before_it_is_sent() -> None:
    """Our own bound needs no 413 to be kept."""
    [large] = records(1, attributes={"text": "some text " * 20_000})
    run = Run(lambda sent: 200, [large], max_request_bytes=100_000)
    assert [sent.size <= 100_000 for sent in run.transport.attempts] == [True]
    assert run.ended(DELIVERED) == {"0"}


def test_a_server_that_takes_no_size_at_all_ends_in_a_rejection() -> None:
    """Shortening has an end, and it is counted."""
    run = Run(lambda sent: 413, records(1, attributes={"text": "some text " * 10_000}))
    assert run.ended(TOO_LARGE) == {"0"}
    assert len(run.requests) < 20


def test_a_start_whose_end_has_come_is_left_out_of_the_next_attempt() -> None:
    """It would land after its END."""
    batch = records(3)
    answers = iter([500, 200])
    run = Run(lambda sent: next(answers), batch, superseded=lambda left: [r for r in left if r is batch[1]])
    assert run.requests == [["0", "1", "2"], ["0", "2"]]
    assert run.ended(Ending(Outcome.SUPERSEDED)) == {"1"}


def test_a_batch_of_which_nothing_is_left_is_not_sent() -> None:
    """No empty requests."""
    run = Run(lambda sent: 500, records(2), superseded=lambda left: list(left))
    assert run.requests == [["0", "1"]]
    assert run.ended(Ending(Outcome.SUPERSEDED)) == {"0", "1"}


def test_looking_for_bad_spans_costs_good_ones_nothing_when_the_time_is_over() -> None:
    """Every fourth of 64 is bad, and requests are slow: what has not been tried goes back to the queue."""
    bad = {str(number) for number in range(0, 64, 4)}

    def script(sent: Sent) -> int:
        run_clock.now += 1
        return 422 if bad & set(sent.names) else 200

    run_clock = FakeClock()
    delivery = Delivery(
        ScriptedTransport(script), Encoder(), request_seconds=10, max_request_bytes=4 * 2**20, clock=run_clock
    )
    batch = records(64)
    names = {record.key: record.name for record in batch}
    deadline = run_clock() + 30
    events = list(delivery.deliver(batch, Terms(lambda: deadline, run_clock.wait)))
    refused = {names[record.key] for event in events if isinstance(event, Settled) for record in event.records}
    returned = {names[record.key] for event in events if isinstance(event, Returned) for record in event.records}
    assert {type(event) for event in events} == {Settled, Returned}
    assert refused | returned == set(names.values())
    assert {event.ending for event in events if isinstance(event, Settled)} <= {
        DELIVERED,
        Ending(Outcome.REJECTED, DropReason.REFUSED),
    }
    assert len(returned) > 10


@pytest.mark.parametrize("latency_seconds", [5, 12, 20])
def test_a_bad_span_is_found_however_slow_the_server_is(latency_seconds: float) -> None:
    """What goes back to the queue comes again as one batch: a search that began anew each time would never end."""
    clock = FakeClock()

    def script(sent: Sent) -> int:
        clock.now += latency_seconds
        return 422 if "0" in sent.names else 200

    delivery = Delivery(
        ScriptedTransport(script), Encoder(), request_seconds=30, max_request_bytes=4 * 2**20, clock=clock
    )
    left, refused = records(200), 0
    for _ in range(20):
        if not left:
            break
        deadline = clock() + 30
        events = list(delivery.deliver(left, Terms(lambda at=deadline: at, clock.wait, limit=lambda: float("inf"))))
        refused += sum(len(event.records) for event in events if isinstance(event, Settled) and event.why)
        left = [record for event in events if isinstance(event, Returned) for record in event.records]
    assert (len(left), refused) == (0, 1)


def test_a_gate_that_shuts_meanwhile_returns_what_is_left() -> None:
    """Whoever waits for a retry hears of the silence that another sender was asked for."""
    turns = iter([Turn(), Turn(granted=False)])
    run = Run(lambda sent: 500, records(2), turn=lambda deadline: nullcontext(next(turns)))
    assert run.requests == [["0", "1"]]
    assert run.returned == ["0", "1"]


@pytest.mark.parametrize(("body_sent", "unclear"), [(True, True), (False, False)])
def test_an_attempt_that_may_have_been_applied_is_reported_as_unclear(body_sent: bool, unclear: bool) -> None:
    """The lanes have to know, for the sake of the END."""
    answers = iter([TransportError("reset", body_sent=body_sent), 200])
    run = Run(lambda sent: next(answers), records(1))
    assert [event.verdict.unclear for event in run.events if isinstance(event, Failed)] == [unclear]


def test_a_record_that_cannot_be_encoded_costs_only_itself() -> None:
    """Its neighbours go on without it."""
    batch = records(3)
    batch[1].key = "nonsense"  # type: ignore[assignment]
    run = Run(lambda sent: 200, batch)
    assert run.ended(Ending(Outcome.REJECTED, DropReason.UNENCODABLE)) == {"1"}
    assert run.ended(DELIVERED) == {"0", "2"}


@given(st.lists(st.sampled_from([200, 400, 401, 409, 413, 422, 500, 503, 418]), max_size=40), st.integers(1, 12))
def test_every_record_is_settled_or_returned_exactly_once(script: list[int], count: int) -> None:
    """Whatever the server answers, in whatever order."""
    answers = iter([*script, *[200] * 500])
    batch = records(count)
    run = Run(lambda sent: Reply(next(answers), {}, ""), batch)
    done = [record for event in run.events if not isinstance(event, Failed) for record in event.records]
    assert sorted(map(id, done)) == sorted(map(id, batch))
