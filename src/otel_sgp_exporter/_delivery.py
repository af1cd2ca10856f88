"""One batch to its end: encode, attempt, judge, then wait, split, mend or give up, until every record has an ending."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from http import HTTPStatus
from math import inf
from typing import NamedTuple, TypeAlias

from ._isolation import Isolation
from ._outcome import DELIVERED, SUPERSEDED, Action, DropReason, Ending, Outcome, TransportError, Verdict, judge
from ._record import Record
from ._repair import shortened, without_parent
from ._transport import Transport
from ._wire import ENVELOPE_BYTES, EncodeError, Encoder, body_bytes, body_chunks, packed

_FIRST_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 8.0
_MIN_REQUEST_BYTES = 64 * 1024
_TURN_SECONDS = 0.00025
# Of 0 gives nothing away before Python 3.11; on Windows even the shortest other one takes milliseconds.
_YIELD_SECONDS = 0.0 if sys.platform == "win32" else 1e-6
_LEAST_SECONDS = 1.0
_NOTHING: AbstractContextManager[None] = nullcontext()

_HELD_BACK = Verdict(Action.RETRY, why="never sent", reason=DropReason.CLOSED)


class Settled(NamedTuple):
    """Records that have come to their end together, and what the server said if it refused them."""

    records: Sequence[Record]
    ending: Ending
    why: str = ""


class Failed(NamedTuple):
    """An attempt with these records delivered nothing; they are tried again."""

    records: Sequence[Record]
    verdict: Verdict


class Returned(NamedTuple):
    """Records that are not to be sent for now. They have no ending yet, and are nobody's until someone takes them."""

    records: Sequence[Record]
    verdict: Verdict

    def as_dropped(self) -> Settled:
        """Their ending where nobody will take them."""
        return Settled(self.records, Ending(Outcome.DROPPED, self.verdict.reason), self.verdict.why)


Event: TypeAlias = Settled | Failed | Returned


@dataclass
class Turn:
    """For one attempt: whether it may be made, and what came of it; None when nobody else needs to know."""

    granted: bool = True
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Terms:
    """What a batch may do while it is delivered, as the one who sends it sees it.

    Args:
        deadline: When to give up, on the delivery's clock; may come closer while the batch is under way.
        wait: Waits as many seconds, or less when the deadline has come closer.
        limit: How far the deadline may be put off, while the server answers and bad records have still to be found.
        turn: Entered for every attempt; may wait until the deadline. What is left of the batch is returned when none is
            granted.
        encoding: Held while records are encoded. Threads that encode at the same time only take the interpreter from
            each other.
        encoded: Told once the records are encoded, before the first attempt.
        late: Those of the records that are not to be sent any more, asked before the first attempt.
        superseded: Those of the records that their END has made pointless, or late, asked before every other attempt.
    """

    deadline: Callable[[], float]
    wait: Callable[[float], object]
    limit: Callable[[], float] = lambda: -inf
    turn: Callable[[float], AbstractContextManager[Turn]] = lambda deadline: nullcontext(Turn())
    encoding: AbstractContextManager[object] = _NOTHING
    encoded: Callable[[Sequence[Record]], object] = lambda records: None
    late: Callable[[Sequence[Record]], Sequence[Record]] = lambda records: ()
    superseded: Callable[[Sequence[Record]], Sequence[Record]] = lambda records: ()

    def until(self, give_up_at: float) -> Terms:
        """The same with another deadline, within the limit."""
        return replace(self, deadline=lambda: min(give_up_at, self.limit()))


class Delivery:
    """Delivers batches. Any number of threads may use one; all it remembers is how large a body may be.

    Args:
        transport: Makes the attempts.
        encoder: Maps and encodes records.
        request_seconds: Deadline of one attempt.
        max_request_bytes: Largest body; comes down when the server says that it takes less.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        transport: Transport,
        encoder: Encoder,
        *,
        request_seconds: float,
        max_request_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transport = transport
        self.clock = clock
        self.max_request_bytes = max_request_bytes
        self.attempted: Callable[[float, Verdict], object] = lambda seconds, verdict: None
        """Told of every attempt: how long it took and what it was worth."""
        self.encoder = encoder
        self.request_seconds = request_seconds

    def deliver(self, records: Sequence[Record], terms: Terms) -> Iterator[Event]:
        """Send `records`, and yield what becomes of them as it becomes known. Each is settled or returned once."""
        sealed = yield from self._encoded(records, terms)
        budget_seconds = terms.deadline() - self.clock()
        # With less time than this an answer might not arrive, and nobody would know what became of the records.
        least_seconds = min(_LEAST_SECONDS, budget_seconds / 10)
        has_settled = False
        requests = Isolation(packed(sealed, self.max_request_bytes))
        for number, request in enumerate(requests):
            if number and self.clock() + least_seconds >= terms.deadline():  # the others' faults have used up the time
                if not has_settled:  # next time, the search would begin again and come no further
                    terms = terms.until(self.clock() + budget_seconds)
                if has_settled or self.clock() + least_seconds >= terms.deadline():
                    yield Returned([*request, *requests.rest()], _HELD_BACK)
                    return
            remaining, verdict = yield from self._until_answered(request, terms, least_seconds, is_first=not number)
            if not remaining:
                continue
            if verdict.action is Action.DONE:
                requests.accepted()
                has_settled = True
                yield Settled(remaining, DELIVERED)
            elif verdict.action in (Action.RETRY, Action.BLOCK):
                yield Returned([*remaining, *requests.rest()], verdict)
            elif not self._mended(remaining, verdict, requests):
                refused = Ending(Outcome.REJECTED, verdict.reason)
                has_settled = True
                yield Settled(remaining, refused, verdict.why)
                if len(remaining) == 1 and requests.refused(verdict.status):
                    yield Settled(requests.rest(), refused, verdict.why)

    def _encoded(self, records: Sequence[Record], terms: Terms) -> Generator[Event, None, list[Record]]:
        """Those of `records` that can be sent, encoded."""
        if tried_before := [record for record in records if record.fragment is not None]:
            vain = {*tried_before} - {*(yield from _without(terms.superseded, tried_before))}
            records = [record for record in records if record not in vain]
        with terms.encoding:
            unencodable = self._seal(records)
        for record, why in unencodable.items():
            yield Settled([record], Ending(Outcome.REJECTED, DropReason.UNENCODABLE), why)
        sealed = [record for record in records if record not in unencodable]
        terms.encoded(sealed)
        return sealed

    def _seal(self, records: Iterable[Record]) -> dict[Record, str]:
        """Encode the records; returns those that cannot be, and why."""
        unencodable = {}
        for record in _in_turns(records, self.clock):
            try:
                self.seal(record)
            except EncodeError as error:
                unencodable[record] = str(error)
        return unencodable

    def seal(self, record: Record) -> None:
        """Encode `record`, unless it is, in a size that can be sent. Raises EncodeError."""
        if record.fragment is None:
            self.encoder.seal(record)
        if len(record.fragment or b"") > self.max_request_bytes:
            _shortened(record, self.max_request_bytes - ENVELOPE_BYTES)

    def _until_answered(
        self, records: Sequence[Record], terms: Terms, least_seconds: float, *, is_first: bool
    ) -> Generator[Event, None, tuple[Sequence[Record], Verdict]]:
        """Attempt until there is an answer to act on; returns it, with those records that are still to be settled."""
        key_is_new, verdict, until = False, _HELD_BACK, terms.deadline()
        for backoff in _backoffs():
            with terms.turn(terms.deadline()) as turn:
                records = yield from _without(terms.late if is_first else terms.superseded, records)
                if not records or not turn.granted:
                    return records, verdict
                verdict = self._attempt(records, terms)
                is_first = False
                if verdict.reason is DropReason.AUTH and not key_is_new and self.transport.renew_key():
                    key_is_new = True
                    continue
                turn.verdict = verdict
            if verdict.action is not Action.RETRY:
                return records, verdict
            yield Failed(records, verdict)
            if verdict.retry_after_seconds is not None:
                return records, verdict
            if (deadline := terms.deadline()) < until:  # somebody closes
                until, least_seconds = deadline, min(least_seconds, (deadline - self.clock()) / 10)
            if self.clock() + backoff + least_seconds >= deadline:
                yield Settled(records, Ending(Outcome.DROPPED, verdict.reason), verdict.why)
                return (), verdict
            terms.wait(backoff)
        raise AssertionError("there is always a next backoff")

    def _attempt(self, records: Sequence[Record], terms: Terms) -> Verdict:
        began = self.clock()
        deadline = min(began + self.request_seconds, terms.deadline())
        fragments = [record.fragment or b"" for record in records]
        try:
            verdict = judge(self.transport.send(body_chunks(fragments), body_bytes(fragments), deadline))
        except TransportError as error:
            verdict = judge(error)
        self.attempted(self.clock() - began, verdict)
        return verdict

    def _mended(self, records: Sequence[Record], verdict: Verdict, requests: Isolation) -> bool:
        """What was refused is to be tried again in another shape: smaller, in halves, or without its parent."""
        if verdict.action is Action.SHRINK:
            return self._shrunk(records, requests)
        if verdict.action is not Action.ISOLATE:
            return False
        if len(records) > 1:
            requests.split(records)
            return True
        orphan = without_parent(records[0].fragment or b"{}") if verdict.status == HTTPStatus.CONFLICT else None
        if orphan is not None:
            records[0].fragment = orphan
            requests.again([records])
        return orphan is not None

    def _shrunk(self, records: Sequence[Record], requests: Isolation) -> bool:
        too_large = body_bytes([record.fragment or b"" for record in records])
        self.max_request_bytes = min(self.max_request_bytes, max(too_large // 2, _MIN_REQUEST_BYTES))
        if len(records) == 1 and not _shortened(records[0], too_large // 2):
            return False
        requests.again(packed(records, min(self.max_request_bytes, too_large // 2)))
        return True


def _in_turns(records: Iterable[Record], clock: Callable[[], float]) -> Iterator[Record]:
    """The records one by one, and time for other threads in between.

    The interpreter would give it to them every 5 ms only: an event loop would stutter, and answers that have arrived
    would wait. With threads that keep the interpreter until it is taken away from them, turns are as long as theirs.
    """
    began, turn_seconds = clock(), _TURN_SECONDS
    for record in records:
        ended = clock()
        if ended - began > turn_seconds:
            time.sleep(_YIELD_SECONDS)
            began = clock()
            interval = sys.getswitchinterval()
            turn_seconds = interval if began - ended > interval else _TURN_SECONDS
        yield record


def _without(
    ended: Callable[[Sequence[Record]], Sequence[Record]], records: Sequence[Record]
) -> Generator[Event, None, Sequence[Record]]:
    """Those of `records` that are still to be sent."""
    while superseded := ended(records):  # again, since more may have come while these were settled
        yield Settled(superseded, SUPERSEDED)
        records = [record for record in records if record not in superseded]
    return records


def _shortened(record: Record, max_bytes: int) -> bool:
    """Whether the record got any shorter."""
    before = record.fragment or b""
    record.fragment = shortened(before, max_bytes)
    return len(record.fragment) < len(before)


def _backoffs() -> Iterator[float]:
    """Seconds to wait before each next attempt: exponential with full jitter, so that clients do not fall in step."""
    limit = _FIRST_BACKOFF_SECONDS
    while True:
        yield random.uniform(0, limit)  # noqa: S311  # no secret hangs on it
        limit = min(limit * 2, _MAX_BACKOFF_SECONDS)
