"""One batch to its end: encode, attempt, judge, then wait, split or give up, until every record has an ending."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ._outcome import DELIVERED, SUPERSEDED, Action, DropReason, Ending, Outcome, TransportError, Verdict, judge
from ._record import Record
from ._transport import Transport
from ._wire import EncodeError, Encoder, body_bytes, body_chunks, packed

_logger = logging.getLogger(__package__)

_FIRST_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 8.0


class Settled(NamedTuple):
    """Records that have come to their end, together."""

    records: Sequence[Record]
    ending: Ending


@dataclass(frozen=True)
class Terms:
    """What a batch may do while it is delivered, as the one who sends it sees it.

    Args:
        deadline: When to give up, on the delivery's clock; may come closer while the batch is under way.
        wait: Waits as many seconds, or less when the deadline has come closer.
        encoded: Told once the records are encoded, before the first attempt.
        superseded: Those of the records that their END has made pointless, asked before an attempt is repeated.
    """

    deadline: Callable[[], float]
    wait: Callable[[float], object]
    encoded: Callable[[Sequence[Record]], object] = lambda records: None
    superseded: Callable[[Sequence[Record]], Sequence[Record]] = lambda records: ()


class Delivery:
    """Delivers batches. Any number of threads may use one; nothing in here remembers a batch."""

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
        self._encoder = encoder
        self._request_seconds = request_seconds
        self.max_request_bytes = max_request_bytes
        self.clock = clock

    def deliver(self, records: Sequence[Record], terms: Terms) -> Iterator[Settled]:
        """Send `records`, and yield their endings as they become known. Every record is settled exactly once."""
        sealed = []
        for record in records:
            try:
                if record.fragment is None:
                    self._encoder.seal(record)
                sealed.append(record)
            except EncodeError as error:
                _logger.error("A span cannot be encoded and is left out: %s", error)
                yield Settled([record], Ending(Outcome.REJECTED, DropReason.UNENCODABLE))
        terms.encoded(sealed)
        for request in packed(sealed, self.max_request_bytes):
            yield from self._send(request, terms)

    def _send(self, records: Sequence[Record], terms: Terms) -> Iterator[Settled]:
        for backoff in _backoffs():
            verdict = self._attempt(records, terms)
            if verdict.action is Action.DONE:
                yield Settled(records, DELIVERED)
                return
            if verdict.action is not Action.RETRY:
                _logger.error("%d records were refused: %s", len(records), verdict.why)
                yield Settled(records, Ending(Outcome.REJECTED, verdict.reason))
                return
            pause = backoff if verdict.retry_after_seconds is None else verdict.retry_after_seconds
            if self.clock() + pause >= terms.deadline():
                _logger.error("%d records are given up, the export timeout is over: %s", len(records), verdict.why)
                yield Settled(records, Ending(Outcome.DROPPED, verdict.reason))
                return
            terms.wait(pause)
            if superseded := terms.superseded(records):
                yield Settled(superseded, SUPERSEDED)
                records = [record for record in records if record not in superseded]
                if not records:
                    return

    def _attempt(self, records: Sequence[Record], terms: Terms) -> Verdict:
        deadline = min(self.clock() + self._request_seconds, terms.deadline())
        fragments = [record.fragment or b"" for record in records]
        try:
            return judge(self.transport.send(body_chunks(fragments), body_bytes(fragments), deadline))
        except TransportError as error:
            return judge(error)


def _backoffs() -> Iterator[float]:
    """Seconds to wait before each next attempt: exponential with full jitter, so that clients do not fall in step."""
    limit = _FIRST_BACKOFF_SECONDS
    while True:
        yield random.uniform(0, limit)  # noqa: S311  # no secret hangs on it
        limit = min(limit * 2, _MAX_BACKOFF_SECONDS)
