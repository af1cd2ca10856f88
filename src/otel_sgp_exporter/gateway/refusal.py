"""Why a request or a message is not taken, in the words of OTLP/HTTP."""

from __future__ import annotations

from enum import IntEnum
from traceback import format_tb


class Code(IntEnum):
    """Those codes of `google.rpc.Code` that we answer with."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Refusal(Exception):  # noqa: N818  # an answer
    """A request is answered with an error. The text goes back to the sender and holds nothing of what was sent.

    Args:
        status: Of HTTP.
        code: Of the `google.rpc.Status` in the body.
        message: Says what is wrong.
        retry_after_seconds: Set when the same request may be taken later, and only then.
    """

    def __init__(self, status: int, code: Code, message: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds


def malformed(message: str) -> Refusal:
    """What was sent is no OTLP request, and will not become one."""
    return Refusal(400, Code.INVALID_ARGUMENT, message)


def too_large(message: str) -> Refusal:
    """It will not fit later either."""
    return Refusal(413, Code.RESOURCE_EXHAUSTED, message)


def unavailable(message: str, retry_after_seconds: int = 1) -> Refusal:
    """Nothing is wrong with the request. 503 and not 429, which some OTLP senders do not try again."""
    return Refusal(503, Code.UNAVAILABLE, message, retry_after_seconds=retry_after_seconds)


def described(error: BaseException) -> str:
    """What kind of defect it is, and where: its text may hold what was sent."""
    return f"{type(error).__name__}\n{''.join(format_tb(error.__traceback__))}"
