"""What the log says: a line when something changes, never one for each failure."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ._delivery import Event, Failed, Returned
from ._outcome import Action, DropReason, Outcome, Verdict

_logger = logging.getLogger(__package__)

_CAUSES = {
    DropReason.AUTH: "SGP refuses the API key or the account: check OTEL_EXPORTER_SGP_API_KEY and _ACCOUNT_ID",
    DropReason.CONFIG: "SGP is not at this address: check OTEL_EXPORTER_SGP_ENDPOINT",
}
_LOSSES = {
    DropReason.REFUSED: "SGP refused them",
    DropReason.TOO_LARGE: "too large even when shortened",
    DropReason.UNENCODABLE: "they cannot be encoded",
    DropReason.QUEUE_FULL: "the queue is full",
    DropReason.BUDGET_SPENT: "the export timeout was over",
    DropReason.AUTH: "the API key or account is refused",
    DropReason.CONFIG: "the endpoint is wrong",
    DropReason.CLOSED: "not delivered by shutdown",
    DropReason.INTERNAL: "an error in the exporter",
}


def say(level: int, text: str, *arguments: object, traceback: bool = False) -> None:
    """Log a line. A handler that raises is somebody else's trouble, and must not end a sender."""
    try:
        _logger.log(level, text, *arguments, exc_info=traceback)
    except Exception:
        return


class Journal:
    """Remembers what was said. Called without a lock: the worst that a race can do is to say something twice."""

    def __init__(self) -> None:
        self._outage_since: float | None = None
        self._blocked_for: DropReason | None = None
        self._said: dict[DropReason, int] = {}
        self._refusals: dict[DropReason, str] = {}
        self._is_closed = False

    def note(self, event: Event, lost: Mapping[DropReason, int], now: float) -> None:
        """Something became of a batch; `lost` are all spans lost so far, by reason."""
        if self._is_closed:
            return  # it is on disk, or was said to be in doubt
        if isinstance(event, Failed):
            self._outage(now, event.verdict.why)
        elif isinstance(event, Returned):
            if event.verdict.action is Action.BLOCK:
                self._blocked(now, event.verdict)
        elif event.ending.outcome is Outcome.DELIVERED:
            self._delivered(now)
        elif event.ending.reason is not None:
            self._refusals[event.ending.reason] = event.why
        self._losses(lost, factor=10)

    def closed(self, lost: Mapping[DropReason, int], unconfirmed: int, in_doubt: int) -> None:
        """The last word: what was lost and not said yet, or may be."""
        self._is_closed = True
        if unconfirmed:
            say(
                logging.WARNING,
                "%d delivered spans may show as running again: a START of theirs was not answered and may arrive late.",
                unconfirmed,
            )
        if in_doubt:
            say(
                logging.ERROR,
                "%d spans were still being sent at shutdown: they are lost if SGP has not got them.",
                in_doubt,
            )
        self._losses({reason: count for reason, count in lost.items() if count > self._said.get(reason, 0)}, factor=1)

    def _outage(self, now: float, why: str) -> None:
        if self._outage_since is None:
            self._outage_since = now
            say(logging.WARNING, "SGP takes no spans at the moment, they are tried again: %s", why)

    def _blocked(self, now: float, verdict: Verdict) -> None:
        if verdict.reason is not None and verdict.reason is not self._blocked_for:
            self._blocked_for = verdict.reason
            self._outage_since = self._outage_since or now
            say(
                logging.ERROR,
                "%s (%s). Spans wait in the queue, tried again every minute.",
                _CAUSES[verdict.reason],
                verdict.why,
            )

    def _delivered(self, now: float) -> None:
        since, self._outage_since, self._blocked_for = self._outage_since, None, None  # before others hear of it, too
        if since is not None:
            say(logging.WARNING, "SGP takes spans again, after %.1f s.", now - since)

    def _losses(self, lost: Mapping[DropReason, int], factor: int) -> None:
        """A line at the first loss, and each time there are `factor` times as many."""
        for reason, count in lost.items():
            if count >= max(self._said.get(reason, 0) * factor, 1):
                self._said[reason] = count
                spans = "1 span" if count == 1 else f"{count} spans"
                why = self._refusals.get(reason)
                say(
                    logging.ERROR, "Lost so far: %s, %s%s", spans, _LOSSES[reason], f". The last: {why}" if why else "."
                )
