"""The counts: what was offered, how each record ended, what is pending. Plain data, changed under one lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ._outcome import DropReason, Ending, Outcome
from ._record import END, REASSERT, Record


@dataclass(frozen=True)
class Stats:
    """The ledger at one moment, in records: two for each span, its START and its END.

    offered = delivered + superseded + rejected + dropped + spooled + pending. `lost` counts, by reason, the ENDs
    among rejected and dropped; a START that was given up is not lost, since the END brings the whole row, and neither
    is what the gateway has not acknowledged, since its sender keeps it.
    """

    offered: int = 0
    delivered: int = 0
    superseded: int = 0
    rejected: int = 0
    dropped: int = 0
    spooled: int = 0
    pending: int = 0
    spans_delivered: int = 0
    """ENDs among the delivered: spans that are complete in SGP."""
    in_flight: int = 0
    concurrency: int = 0
    """Requests that may be in flight at the moment: fewer than allowed while the backend pushes back."""
    held_bytes: int = 0
    """What is pending occupies this much, by estimate or, once encoded, exactly."""
    reasserted: int = 0
    """ENDs delivered once more after a START of which nobody knew whether it had arrived; no records of their own."""
    unconfirmed: int = 0
    """ENDs delivered while such a START may still overwrite them, and not yet repeated."""
    lost: dict[DropReason, int] = field(default_factory=dict)
    reasons: dict[DropReason, int] = field(default_factory=dict)

    def since(self, before: Stats, pending: int) -> FlushResult:
        """What became of records between `before` and now."""
        lost = {reason: count - before.lost.get(reason, 0) for reason, count in self.lost.items()}
        return FlushResult(
            delivered=self.delivered - before.delivered,
            pending=pending,
            lost={reason: count for reason, count in lost.items() if count},
        )


@dataclass(frozen=True)
class FlushResult:
    """What became of the records since the flush before.

    Attributes:
        delivered: Records that the server took.
        pending: Records offered before this flush that have no end yet.
        lost: ENDs that were rejected or dropped, by reason.
    """

    delivered: int
    pending: int
    lost: dict[DropReason, int]

    @property
    def complete(self) -> bool:
        """True when nothing offered before the flush is pending and nothing was lost."""
        return not self.pending and not self.lost


class Ledger:
    """Counts records in, and out again exactly once. Records between two flushes share an epoch."""

    def __init__(self) -> None:
        self._offered = 0
        self._reasserted = 0
        self._spans_delivered = 0
        self._endings: Counter[Ending] = Counter()
        self._lost: Counter[DropReason] = Counter()
        self._pending: dict[int, int] = {0: 0}
        self._epoch = 0

    def offered(self, record: Record) -> None:
        """Count `record` in."""
        self._offered += 1
        record.epoch = self._epoch
        self._pending[self._epoch] += 1

    def ended(self, records: Sequence[Record], ending: Ending) -> None:
        """Count `records` out, which all ended alike."""
        first_time = [record for record in records if record.phase is not REASSERT]
        ends = [record for record in first_time if record.phase is END]
        self._endings[ending] += len(first_time)
        if ending.outcome is Outcome.DELIVERED:
            self._spans_delivered += len(ends)
            self._reasserted += len(records) - len(first_time)
        elif ending.reason is not None:
            is_dropped = ending.outcome is Outcome.DROPPED  # and kept by the sender, if it waits to be told
            self._lost[ending.reason] += sum(not (is_dropped and record.receipts is not None) for record in ends)
        for record in first_time:
            self._pending[record.epoch] -= 1
        for record in first_time:
            for receipt in record.receipts or ():
                receipt(record, ending)

    def lost(self) -> dict[DropReason, int]:
        """ENDs lost so far, by reason."""
        return dict(+self._lost)

    def next_epoch(self) -> int:
        """Begin a new epoch and return the one before: what was offered until now."""
        self._pending = {epoch: count for epoch, count in self._pending.items() if count}
        self._epoch += 1
        self._pending[self._epoch] = 0
        return self._epoch - 1

    def pending_until(self, epoch: int) -> int:
        """Records of this epoch and those before that have not ended."""
        return sum(count for of, count in self._pending.items() if of <= epoch)

    def stats(self, in_flight: int = 0, concurrency: int = 0, held_bytes: int = 0, unconfirmed: int = 0) -> Stats:
        """A copy of the counts."""
        by_outcome: Counter[Outcome] = Counter()
        reasons: Counter[DropReason] = Counter()
        for ending, count in (+self._endings).items():
            by_outcome[ending.outcome] += count
            if ending.reason is not None:
                reasons[ending.reason] += count
        return Stats(
            offered=self._offered,
            **{outcome.value: by_outcome[outcome] for outcome in Outcome},
            pending=self.pending_until(self._epoch),
            spans_delivered=self._spans_delivered,
            in_flight=in_flight,
            held_bytes=held_bytes,
            concurrency=concurrency,
            reasserted=self._reasserted,
            unconfirmed=unconfirmed,
            lost=self.lost(),
            reasons=dict(reasons),
        )

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<Ledger {stats.offered} offered, {stats.delivered} delivered, {stats.pending} pending>"
