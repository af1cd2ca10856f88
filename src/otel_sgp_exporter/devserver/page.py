"""The page that a search answers with: what fits, and the cursors to what lies on either side."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from .codec import decode, encode
from .finding import Found, Position
from .refusal import Refusal, refused
from .search import Search
from .settings import Settings
from .timestamps import iso

_CURSOR_PREFIX = "cursor."
_INT64 = range(-(1 << 63), 1 << 63)


def encode_page(found: list[Found], search: Search, settings: Settings) -> bytes:
    """The page of what was found, in the order asked for; `found` has one more than the limit if there is more.

    Tracing pages also have cursors, and a bound on their bytes: beyond it they are refused, or cut short where the
    caller allows it. So do those of a search that stopped early: their cursor leads to where it stopped.
    """
    query = search.query
    has_more = len(found) > query.limit
    items = found[-query.limit :] if query.backwards else found[: query.limit]
    page: dict[str, Any] = {"object": "list", "total": 0, "limit": query.limit, "has_more": has_more}
    if settings.tracing_is_primary:
        fitting = _fitting(items, search, settings.search_byte_budget)
        cut = has_more or len(fitting) < len(items)
        items = fitting
        stopped = None if cut or len(items) == query.limit else query.until
        page["has_more"] = has_more = cut or query.until is not None
        first, last = (items[0].position, items[-1].position) if items else (None, None)
        before, after = (has_more, True) if query.backwards else (query.beyond is not None, has_more)
        first, last = (stopped or first, last) if query.backwards else (first, stopped or last)
        page["prev_cursor"] = _cursor(first) if first and before else None
        page["next_cursor"] = _cursor(last) if last and after else None
        page["search_status"] = "partial" if stopped else None
        page["searched_through"] = iso(stopped[0]) if stopped and query.sort == "start_timestamp" else None
        page |= search.window
    return encode(page)[:-1] + b',"items":[' + b",".join(item.document for item in items) + b"]}"


def position_in(cursor: str) -> Position | None:
    """The position that a cursor of ours carries; None when it is none of ours: a bare span id, perhaps."""
    if not cursor.startswith(_CURSOR_PREFIX):
        return None
    try:
        value, trace_id, span_id = decode(base64.urlsafe_b64decode(cursor.removeprefix(_CURSOR_PREFIX)))
    except (binascii.Error, Refusal, TypeError, ValueError):
        return None
    return (value, str(trace_id), str(span_id)) if value in _INT64 else None


def _cursor(position: Position) -> str:
    return _CURSOR_PREFIX + base64.urlsafe_b64encode(encode(position)).decode()


def _fitting(items: list[Found], search: Search, budget_bytes: int) -> list[Found]:
    """As many items as fit, from the end where the page begins; at least one where a short page is allowed."""
    nearest_first = items[::-1] if search.query.backwards else items
    fitting: list[Found] = []
    for item in nearest_first:
        budget_bytes -= len(item.document)
        if budget_bytes < 0 and (fitting or not search.allow_partial):
            break
        fitting.append(item)
    if len(fitting) < len(items) and not search.allow_partial:
        raise refused(400, "SEARCH_RESULT_TOO_LARGE: narrow the search or lower the limit")
    return fitting[::-1] if search.query.backwards else fitting
