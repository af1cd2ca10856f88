"""Everything that the pipeline's lock guards: the lanes, the counts, the gate, the spans that are open in SGP."""

from __future__ import annotations

from collections.abc import Sequence

from ._config import ProcessorConfig
from ._delivery import Event, Failed, Returned, Settled
from ._gate import Gate
from ._lanes import Lanes
from ._ledger import Ledger, Stats
from ._open_spans import OpenSpans
from ._outcome import DropReason, Ending, Outcome
from ._record import Phase, Record
from ._repair import cancelled

_FIRST_SILENCE_SECONDS = 0.05
_MAX_SILENCE_SECONDS = 8.0


class State:
    """Moves records between their places, and counts them. Knows no thread, no lock and no clock.

    Times are monotonic seconds.
    """

    def __init__(self, config: ProcessorConfig) -> None:
        self._max_records = config.max_export_batch_size
        self._delays_starts = bool(config.start_delay_millis)
        self._linger_seconds = config.schedule_delay_millis / 1000
        self.lanes = Lanes(config.max_queue_size, config.max_queue_bytes, (config.start_delay_millis or 0) / 1000)
        self.ledger = Ledger()
        self.gate = Gate()
        self.open_spans = OpenSpans()
        self.closed = False
        self.hurries = 0
        """How many flush or close at the moment: while there are any, nothing lingers."""
        self.last_delivery = -float("inf")
        self.just_delivered = False
        self._silences = 0  # asked for since the last delivery

    def admit(self, record: Record, now: float) -> None:
        """A record comes in."""
        self.ledger.offered(record)
        if record.phase is Phase.END:
            self.open_spans.closed(record.key)
        if self.closed:
            self.ledger.ended(record, self.closed_ending)
            return
        for each, ending in self.lanes.offer(record, now):
            if each.key == record.key and each is not record:
                record.stand_in_for(each)
            self.ledger.ended(each, ending)

    def is_full(self, max_bytes: int) -> bool:
        """True when a whole batch waits."""
        return self.lanes.is_full(self._max_records, max_bytes)

    @property
    def in_hurry(self) -> bool:
        return self.hurries > 0

    def due_at(self, max_bytes: int) -> float | None:
        """When the next batch may go; None when there is nothing to send, or only an event can tell."""
        due = self.lanes.next_due(self._linger_seconds)
        if due is None or self.gate.opens_at == float("inf"):
            return None
        if self.in_hurry or self.is_full(max_bytes):
            due = -float("inf")
        return max(due, self.gate.opens_at)

    def take(self, now: float, max_bytes: int) -> tuple[Sequence[Record], bool] | None:
        """The next batch, and whether it is a probe; None when nothing may go at the moment."""
        due = self.due_at(max_bytes)
        if due is None or due > now:
            return None
        records = self.lanes.take(self._max_records, max_bytes, now, hurry=self.in_hurry)
        if self._delays_starts:
            for record in records:
                record.refresh()  # many instrumentations say what a span is only after they have started it
        return records, self.gate.enter()

    def relieve(self) -> list[Record]:
        """ENDs, in flight from here on, for which there will soon be no room."""
        records, ended = self.lanes.relieve(self._max_records)
        for record, ending in ended:
            self.ledger.ended(record, ending)
        return records

    def happened(self, event: Event, now: float, *, probe: bool) -> None:
        """Something became of records in flight; `probe` if they went through the gate alone."""
        if isinstance(event, Failed):
            if event.verdict.unclear:
                self.lanes.unclear(event.records, now)
        elif isinstance(event, Returned):
            for record, ending in self.lanes.give_back(event.records):
                self.ledger.ended(record, ending)
            if event.seconds:
                # A server that asks for next to no silence, again and again, does not know what is good for it.
                seconds = max(event.seconds, min(_FIRST_SILENCE_SECONDS * 2**self._silences, _MAX_SILENCE_SECONDS))
                if probe or self.gate.is_open:
                    self._silences = min(self._silences + 1, 10)
                self.gate.shut(now + seconds, _beyond_waiting(event.verdict.reason))
        else:
            self._settled(event, now)
            if probe and event.ending.outcome in (Outcome.DELIVERED, Outcome.REJECTED):
                self.gate.open()

    def _settled(self, settled: Settled, now: float) -> None:
        delivered = self.just_delivered = settled.ending.outcome is Outcome.DELIVERED
        for record in settled.records:
            self.lanes.settle(record, delivered=delivered)
            self.ledger.ended(record, settled.ending)
            if delivered and record.phase is Phase.START and not self.lanes.has_end(record.key):
                self.open_spans.opened(record)
        if delivered:
            self.last_delivery = now
            self._silences = 0

    def cancel_open_spans(self, now: float, end_ns: int) -> None:
        """The END of every span that SGP shows as running: nobody else will send it."""
        for key, start in self.open_spans.take_all().items():
            end = cancelled(start, end_ns, "the process ended before the span did")
            record = Record.of_fragment(Phase.END, key, end)
            record.explains_trace = False  # spans that ended go before it
            self.admit(record, now)

    @property
    def closed_ending(self) -> Ending:
        """How records end that were not delivered by shutdown: for what kept them, if that is known."""
        return Ending(Outcome.DROPPED, self.gate.reason or DropReason.CLOSED)

    def stats(self) -> Stats:
        """The counts at this moment."""
        return self.ledger.stats(self.lanes.in_flight, self.lanes.charged_bytes)

    def __repr__(self) -> str:
        return f"{self.lanes!r} {self.ledger!r} {self.gate!r}"


def _beyond_waiting(reason: DropReason | None) -> DropReason | None:
    return reason if reason in (DropReason.AUTH, DropReason.CONFIG) else None
