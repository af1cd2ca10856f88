"""A few words for the tests of the page: spans with times around now, and looks at what is shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from sgp_client import Sgp


def at(seconds: float) -> str:
    """A time so many seconds from now."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


def span(
    id: str, parent: str | None = None, since: float = -2, until: float | None = None, **fields: Any
) -> dict[str, Any]:
    end = None if until is None else at(until)
    times = {"start_timestamp": at(since), "end_timestamp": end}
    return {"id": id, "parent_id": parent, "trace_id": "t", "name": f"span {id}", **times, **fields}


def soon(page: Any, condition: Callable[[], bool]) -> None:
    """Playwright's own wait evaluates text as a script: the page's content policy forbids it."""
    for _ in range(100):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError("not within ten seconds")


def open_trace(page: Any, sgp: Sgp, span_id: str = "") -> None:
    page.goto(f"{sgp.server.url}/#/acme/t{'/' + span_id if span_id else ''}")
    page.locator(".span-row").first.wait_for()


def row(page: Any, name: str) -> Any:
    return page.locator(".span-row").filter(has=page.get_by_text(name, exact=True))
