"""Everything that the pipeline's lock guards: the lanes, the counts, the gate, the spans that are open in SGP."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from math import inf

from ._config import ProcessorConfig
from ._delivery import Event, Failed, Settled
from ._gate import Gate
from ._lanes import REASSERT_SECONDS, Lanes
from ._ledger import Ledger, Stats
from ._open_spans import OpenSpans
from ._outcome import Action, DropReason, Ending, Outcome, Verdict
from ._record import END, REASSERT, START, Record, SpanKey
from ._repair import cancelled
from ._window import Window

_FIRST_SILENCE_SECONDS = 0.05
_MAX_SILENCE_SECONDS = 8.0
_LAST_WAIT_SECONDS = 1.0
_LEAST_BATCH_BYTES = 512 * 1024

HANDED_OFF_SECONDS = 5.0
"""How long the START of a span that was handed off may be sent: afterwards it could land on the END from elsewhere."""


class State:
    """Moves records between their places, and counts them. Knows no thread, no lock and no clock.

    Times are monotonic seconds.
    """

    def __init__(self, config: ProcessorConfig) -> None:
        self._max_records = config.max_export_batch_size
        # What all senders have encoded is about a quarter of what may be held: it lies elsewhere in memory than what
        # was there before, and allocators give back little.
        self._max_bytes = max(config.max_queue_bytes // (4 * config.senders), _LEAST_BATCH_BYTES)
        self._delays_starts = bool(config.start_delay_millis)
        self._linger_seconds = config.schedule_delay_millis / 1000
        self.lanes = Lanes(config.max_queue_size, config.max_queue_bytes, (config.start_delay_millis or 0) / 1000)
        self.ledger = Ledger()
        self.gate = Gate()
        self.window = Window(config.max_concurrent_exports)
        self.open_spans = OpenSpans()
        self.handed_off: dict[SpanKey, float] = {}
        """Spans that end elsewhere while their START is still here, and until when it may be sent."""
        self.closed = False
        self.hurries: set[object] = set()
        """One for each who flushes or closes at the moment: while there are any, nothing lingers."""
        self.final_at = inf
        """The process ends: from then on what is to be repeated is repeated now or never."""
        self.last_delivery = -float("inf")
        self.just_delivered = False
        self._silences = 0  # asked for since the last delivery

    def admit(self, record: Record, now: float) -> None:
        """A record comes in."""
        self.ledger.offered(record)
        if record.phase is END:
            self.open_spans.closed(record.key)
        if self.closed:
            self.ledger.ended([record], self.closed_ending)
            return
        for each, ending in self.lanes.offer(record, now):
            if each.key == record.key and each is not record:
                record.stand_in_for(each)
            self.ledger.ended([each], ending)

    def hand_off(self, key: SpanKey, now: float, request_seconds: float) -> float:
        """Another process will end the span. For how many seconds its START may still be applied."""
        self.open_spans.closed(key)
        if not self.lanes.has_start(key):
            return self.lanes.expects_start(key, now)
        for gone in [*takewhile(lambda key: not self.lanes.has_start(key), self.handed_off)]:
            del self.handed_off[gone]  # given up or superseded before it was sent
        self.lanes.hasten_start(key)
        self.handed_off[key] = now + HANDED_OFF_SECONDS
        # The last attempt may take its time, and so may the server when nobody listens to it any more.
        return HANDED_OFF_SECONDS + request_seconds + REASSERT_SECONDS

    def resume(self, key: SpanKey, start_seconds: float, now: float) -> None:
        """The span will end here. For so many seconds another process may still send its START."""
        if start_seconds > 0 and not self.lanes.has_start(key):  # else it is this process, which sends START before END
            self.lanes.expect_start(key, now + start_seconds, now)

    def held(self, ends: Sequence[Record], now: float, request_seconds: float) -> dict[SpanKey, float]:
        """Those of these ENDs that may not be sent elsewhere yet, and for how many seconds."""
        held = {end.key: self.lanes.outruns(end, now, request_seconds) for end in ends}
        return {key: seconds for key, seconds in held.items() if seconds > 0}

    def superseded(self, records: Sequence[Record], now: float) -> Sequence[Record]:
        """Those STARTs in flight that are not to be tried again: the END has come, or may have come elsewhere."""
        here = self.lanes.superseded(records)
        return [*here, *(record for record in self.late(records, now) if record not in here)]

    def late(self, records: Sequence[Record], now: float) -> Sequence[Record]:
        """Those STARTs in flight that are not to be tried at all: their spans were handed off too long ago."""
        if not self.handed_off:
            return ()
        late = [record for record in records if self.handed_off.get(record.key, inf) <= now]
        return [record for record in late if record.phase is START]

    def is_full(self, max_bytes: int) -> bool:
        """True when a whole batch waits."""
        return self.lanes.is_full(self._max_records, min(max_bytes, self._max_bytes))

    @property
    def in_hurry(self) -> bool:
        return bool(self.hurries)

    def end(self, now: float) -> None:
        """The process ends: deliver what is here, and wait no longer than a moment with what is to be repeated."""
        self.hurries.add(self)
        self.final_at = min(self.final_at, now + _LAST_WAIT_SECONDS)

    @property
    def next_due(self) -> float | None:
        """When the oldest record has waited long enough; None when nothing is queued."""
        return self.lanes.next_due(self._linger_seconds)

    def due_at(self, max_bytes: int) -> float | None:
        """When the next batch may go; None when there is nothing to send, or only an event can tell."""
        due = self.lanes.next_due(self._linger_seconds, hurry=self.in_hurry)
        if due is None or self.gate.opens_at == float("inf"):
            return None
        if self.is_full(max_bytes):
            due = -inf
        return max(min(due, self.final_at), self.gate.opens_at)

    def has_time(self, now: float, max_bytes: int) -> bool:
        """Nobody flushes or closes, and what is here only lingers, as in a busy process there is always something."""
        if self.in_hurry or not self.gate.is_open:
            return False
        due = self.due_at(max_bytes)
        return due is None or (due > now and self.window.limit > 1)

    def take(self, now: float, max_bytes: int) -> tuple[Sequence[Record], bool] | None:
        """The next batch, and whether it is a probe; None when nothing may go at the moment."""
        due = self.due_at(max_bytes)
        if due is None or due > now:
            return None
        until = inf if now >= self.final_at else now
        records = self.lanes.take(self._max_records, min(max_bytes, self._max_bytes), until, hurry=self.in_hurry)
        if self._delays_starts:
            for record in records:
                record.refresh()  # many instrumentations say what a span is only after they have started it
        return records, self.gate.enter()

    def relieve(self) -> list[Record]:
        """ENDs, in flight from here on, for which there will soon be no room."""
        records, ended = self.lanes.relieve(self._max_records)
        for record, ending in ended:
            self.ledger.ended([record], ending)
        return records

    def answered(self, verdict: Verdict | None, now: float, *, is_probe: bool) -> None:
        """A request is no longer in flight: what that means for all others. Without a verdict, nothing."""
        self.window.leave()
        if verdict is None:
            return
        if verdict.pushes_back:
            self.window.narrow(now)
        elif verdict.action is Action.DONE:
            self.window.widen(now)
        if verdict.silence_seconds:
            self._keep_silent(verdict, now, is_probe=is_probe)
        elif is_probe and verdict.action is not Action.RETRY:
            self.gate.open()

    def _keep_silent(self, verdict: Verdict, now: float, *, is_probe: bool) -> None:
        # A server that asks for next to no silence, again and again, does not know what is good for it.
        seconds = max(verdict.silence_seconds, min(_FIRST_SILENCE_SECONDS * 2**self._silences, _MAX_SILENCE_SECONDS))
        if is_probe or self.gate.is_open:
            self._silences = min(self._silences + 1, 10)
        self.gate.shut(now + seconds, verdict.reason if verdict.action is Action.BLOCK else None)

    def happened(self, event: Event, now: float) -> None:
        """Something became of records in flight."""
        if isinstance(event, Failed):
            if event.verdict.unclear:
                self.lanes.unclear(event.records, now)
        elif isinstance(event, Settled):
            self._settled(event, now)
        elif self.closed:  # meanwhile: nobody would take them any more
            self._settled(event.as_dropped(), now)
        else:
            for record, ending in self.lanes.give_back(event.records):
                self.ledger.ended([record], ending)

    def _settled(self, settled: Settled, now: float) -> None:
        delivered = self.just_delivered = settled.ending.outcome is Outcome.DELIVERED
        ended: list[Record] = []
        try:
            for record in settled.records:
                if record.phase is REASSERT:
                    if settled.ending.outcome is not Outcome.DROPPED:
                        self.lanes.unconfirmed -= 1
                    elif not self.closed:
                        self.lanes.give_back([record])  # its row may be wrong until it has been delivered
                        continue
                self.lanes.settle(record, delivered=delivered)
                ended.append(record)
                if record.phase is START:
                    ends_here = self.handed_off.pop(record.key, None) is None
                    if delivered and ends_here and not self.lanes.has_end(record.key):
                        self.open_spans.opened(record)
        finally:  # also of an interrupt: what is out of the lanes is counted
            self.ledger.ended(ended, settled.ending)
        if delivered:
            self.last_delivery = now
            self._silences = 0

    def cancel_open_spans(self, now: float, end_ns: int) -> None:
        """The END of every span that SGP shows as running: nobody else will send it."""
        for key, start in self.open_spans.take_all().items():
            end = cancelled(start, end_ns, "the process ended before the span did")
            record = Record.of_fragment(END, key, end)
            record.explains_trace = False  # spans that ended go before it
            self.admit(record, now)

    def is_done(self, epoch: int) -> bool:
        """Nothing of the epoch is pending; and nothing is to be repeated, if this is the last opportunity."""
        return not self.ledger.pending_until(epoch) and not (self.final_at < inf and self.lanes.unconfirmed)

    @property
    def closed_ending(self) -> Ending:
        """How records end that were not delivered by shutdown: for what kept them, if that is known."""
        return Ending(Outcome.DROPPED, self.gate.reason or DropReason.CLOSED)

    def stats(self) -> Stats:
        """The counts at this moment."""
        lanes = self.lanes
        return self.ledger.stats(lanes.in_flight, self.window.limit, lanes.charged_bytes, lanes.unconfirmed)

    def __repr__(self) -> str:
        return f"{self.lanes!r} {self.ledger!r} {self.gate!r}"
