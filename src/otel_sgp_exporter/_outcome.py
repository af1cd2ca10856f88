"""What became of an attempt (its verdict) and of a record (its ending): plain values and one pure table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import NamedTuple

MAX_RETRY_AFTER_SECONDS = 60.0


class Outcome(Enum):
    """How a record ended. Every record ends exactly once."""

    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    """A START that its END made pointless before it was sent."""
    REJECTED = "rejected"
    """Refused for what it holds: by the server, or because it cannot be encoded."""
    DROPPED = "dropped"
    """Given up for reasons outside the record."""
    SPOOLED = "spooled"


class DropReason(Enum):
    """Why a record was rejected or dropped; the value is the label in logs and metrics."""

    REFUSED = "refused"
    TOO_LARGE = "too_large"
    UNENCODABLE = "unencodable"
    QUEUE_FULL = "queue_full"
    BUDGET_SPENT = "budget_spent"
    AUTH = "auth"
    CONFIG = "config"
    CLOSED = "closed"
    INTERNAL = "internal"


class Ending(NamedTuple):
    """The end of one record, with the reason when it was lost."""

    outcome: Outcome
    reason: DropReason | None = None


DELIVERED = Ending(Outcome.DELIVERED)
SUPERSEDED = Ending(Outcome.SUPERSEDED)
SPOOLED = Ending(Outcome.SPOOLED)


class Reply(NamedTuple):
    """The server's answer to one attempt; header names are lower case, the text is cut to a few KiB."""

    status: int
    headers: Mapping[str, str]
    text: str


class TransportError(Exception):
    """An attempt that ended without an answer.

    `body_sent` is True when the whole request had gone out: the server may have applied it, or may yet.
    """

    def __init__(self, why: str, *, body_sent: bool) -> None:
        super().__init__(why)
        self.body_sent = body_sent


class Action(Enum):
    """What to do after an attempt."""

    DONE = "done"
    RETRY = "retry"
    ISOLATE = "isolate"
    """Something in the batch was refused: halve until it stands alone."""
    SHRINK = "shrink"
    """The body was too large: send less of it at a time."""
    BLOCK = "block"
    """Nothing can be delivered until someone mends a key or a URL."""
    REJECT = "reject"


class Verdict(NamedTuple):
    """The judgement on one attempt: what to do, why (for the log), and what to call a loss that follows."""

    action: Action
    status: int = 0
    """Of HTTP; 0 when there was no answer."""
    why: str = ""
    reason: DropReason | None = None
    retry_after_seconds: float | None = None
    unclear: bool = False
    """Nobody knows whether the server applied it, or will."""

    @property
    def silence_seconds(self) -> float:
        """How long to send nothing; 0 for going on."""
        return _BLOCKED_SECONDS if self.action is Action.BLOCK else self.retry_after_seconds or 0.0

    @property
    def pushes_back(self) -> bool:
        """True when the server has more to do than it can: it says so, or has not answered."""
        return self.status in _TOO_MUCH or (self.unclear and not self.status)


_RETRY = (Action.RETRY, DropReason.BUDGET_SPENT)
_ISOLATE = (Action.ISOLATE, DropReason.REFUSED)
_MISCONFIGURED = (Action.BLOCK, DropReason.CONFIG)
_UNAUTHORISED = (Action.BLOCK, DropReason.AUTH)

_TOO_MUCH = (429, 503)
_BLOCKED_SECONDS = 60.0
_GATEWAY_GAVE_UP = (502, 504)  # what is behind the gateway may go on

_BY_STATUS = {
    400: _ISOLATE,
    401: _UNAUTHORISED,
    403: _UNAUTHORISED,
    404: _MISCONFIGURED,
    405: _MISCONFIGURED,
    407: _RETRY,  # of a proxy on the way to an http:// endpoint; on the way to https:// it is no answer at all
    408: _RETRY,
    409: _ISOLATE,
    413: (Action.SHRINK, DropReason.TOO_LARGE),
    422: _ISOLATE,
    425: _RETRY,
    429: _RETRY,
    501: _MISCONFIGURED,
}
_BY_CLASS = {
    2: (Action.DONE, None),
    3: _MISCONFIGURED,  # never followed: the key would travel to another host
    4: (Action.REJECT, DropReason.REFUSED),
    5: _RETRY,
}


def judge(result: Reply | TransportError, now: datetime | None = None) -> Verdict:
    """The verdict on one attempt. `now` (UTC) is what an HTTP date in Retry-After is measured against."""
    if isinstance(result, TransportError):
        return Verdict(Action.RETRY, 0, str(result), DropReason.BUDGET_SPENT, unclear=result.body_sent)
    action, reason = _BY_STATUS.get(result.status) or _BY_CLASS.get(result.status // 100, _RETRY)
    asked = result.headers.get("x-should-retry")
    if asked == "true" and action is not Action.DONE:
        action, reason = _RETRY
    elif asked == "false" and action is Action.RETRY:
        action, reason = Action.REJECT, DropReason.REFUSED
    why = f"HTTP {result.status} {result.text.strip()[:500]}".rstrip()
    retry_after = _retry_after_seconds(result.headers, now) if action is Action.RETRY else None
    return Verdict(action, result.status, why, reason, retry_after, unclear=result.status in _GATEWAY_GAVE_UP)


def _retry_after_seconds(headers: Mapping[str, str], now: datetime | None) -> float | None:
    """What the server asks for, at most a minute; None when it does not ask, or asks for nonsense."""
    seconds = _seconds(headers.get("retry-after-ms"), 1000)
    if seconds is None:
        asked = headers.get("retry-after")
        seconds = _seconds(asked, 1)
        if seconds is None and asked:
            seconds = _until(asked, now or datetime.now(timezone.utc))
    return None if seconds is None or not seconds > 0 else min(seconds, MAX_RETRY_AFTER_SECONDS)


def _seconds(text: str | None, per_second: int) -> float | None:
    try:
        return None if text is None else float(text) / per_second
    except ValueError:
        return None


def _until(http_date: str, now: datetime) -> float | None:
    try:
        return (parsedate_to_datetime(http_date) - now).total_seconds()
    except (TypeError, ValueError):
        return None
