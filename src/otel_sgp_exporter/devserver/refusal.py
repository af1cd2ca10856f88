"""The answers that refuse a request, in the shapes the service gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

Problem: TypeAlias = dict[str, Any]
Location: TypeAlias = tuple[str | int, ...]


class Refusal(Exception):  # noqa: N818 - an answer, not a failure of ours
    """Ends a request with `status` and the JSON `body`; nothing of the request is stored."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}


def refused(status: int, detail: str) -> Refusal:
    return Refusal(status, {"detail": detail})


def invalid(problems: Sequence[Problem]) -> Refusal:
    """422 with every problem found, as FastAPI lists them."""
    return Refusal(422, {"detail": list(problems)})


def problem(kind: str, location: Location, message: str, given: Any) -> Problem:
    return {"type": kind, "loc": list(location), "msg": message, "input": given}
